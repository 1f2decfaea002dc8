"""The shell's semantics, compared with dash: the same scripts, the same output and status."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerforge.shell.parse import parse_script
from layerforge.shell.words import ScriptError
from tests.conftest import require
from tests.shell.bare_shell import evaluate

SCRIPTS = [
    r"""echo "  a  $b  "; x=" a  b "; echo $x "$x" '$x' \$x
""",
    r"""case "a b" in (a*|b\ c) echo hi;; [!x]*) echo no;; esac; case x in a) ;; x) echo x; esac
""",
    r"""x=foobar; echo ${x%%[!a-e]*} ${x#"fo"} ${q:-a b"c d"} "${q:-a 'b'}" ${#x} ${x%bar} ${x##*o}
""",
    r"""cat=1; while read l; do echo "<$l>"; done <<EOF
 a b
$cat
EOF
echo end
""",
    r"""[ "$1" = "a b" ] && [ -z "" -o ! -e /x ] && echo yes; [ 1 -lt 2 -a 3 -gt 4 ] || echo no
""",
    r"""for i in "$@" z; do echo "[$i]"; done; set -- x y z; echo $# $*; shift; echo $1
""",
    r"""f() { local x=1; echo $x $1; return 3; }; x=5; f q || echo $? $x
""",
    r"""set -e; false || true; if false; then :; fi; ! true; echo here; false; echo never
""",
    r"""set -e; (false) ; echo never
""",
    r"""set -e; x=$(false); echo never
""",
    r"""set -e; f() { false; echo in; }; f && echo x; f; echo never
""",
    r"""echo $((1+2*3)) $((10/3)) $((-7%3)) $(( (1<<4) | 1 ))
""",
    r"""y=3; echo $((y*2)) $((y==3?10:20)) $((!y)); : $((y+=4)); echo $y
""",
    r"""echo a | while read x; do echo got $x; y=1; done; echo ${y:-unset}
""",
    r"""IFS=:; x=a:b::c; for i in $x; do echo "<$i>"; done
""",
    r"""printf '%s-%d\n' a 1 b 2; printf '%5s|%-5s|%03d\n' x y 7; printf 'a\tb\\n\n'; echo 'a\tb\c'; echo after
""",
    r"""x='a*b'; case $x in a\*b) echo lit;; esac; case "a*b" in "$x") echo q;; esac; case axb in $x) echo pat;; esac
""",
    r"""until [ "${n:-0}" -ge 3 ]; do n=$((${n:-0}+1)); [ $n = 2 ] && continue; echo $n; done
""",
    r"""x=`echo \`echo hi\``; echo "$x"; echo "`echo "a  b"`"
""",
    r"""{ echo a; echo b; } | { read x; read y; echo $y$x; }
""",
    r"""echo ${x-unset} ${x=set} $x ${x+alt} ${y+alt}e
""",
    r"""(exit 3); echo $?; true && false || echo r; ! false && echo neg
""",
    r"""f() { for i in 1 2 3; do for j in 1 2; do [ $i = 2 ] && continue 2; [ $i = 3 ] && break 2
echo $i$j; done; done; }; f
""",
    r"""x=1; x=2 true; echo $x; eval 'y=$x; echo $y'; unset x; echo ${x:-gone}
""",
    r"""set -- -a -b val rest; while getopts ab: o; do echo $o ${OPTARG:-}; done; shift $((OPTIND-1)); echo $1
""",
    r"""echo "a
b" | { while read -r l; do echo "[$l]"; done; }; read -r a b c <<X
 one  two three four
X
echo "$a|$b|$c|"
""",
    r"""echo "$(echo "x'y" 'z"w')" "${1#a }" "${1%% *}"
""",
    r"""if [ -n "$2" ] && { [ "$2" = d ] || [ "$2" = c ]; }; then echo ok; elif true; then echo el; else echo no; fi
""",
    r"""set -u; echo ${foo:-d}; echo $foo; echo never
""",
    r"""x="a:b"; IFS=: read p q <<E
$x
E
echo "$p,$q"; exec 3>&1; echo to3 >&3; echo err >&2; { echo sub; exit 4; }
""",
    r"""echo "x\\y\"z\$w\`v" 'it'"'"'s'; echo a\
b; echo "${1:+yes $1}" ${9:+no}; echo "$*" "$#"
""",
    r"""cat() { echo fn; }; cat; command -v cat; type=1; echo $type; a=1 b=2; echo $a$b
echo x >/dev/null; echo y 2>&1
""",
    r"""case abc in *[!a-z]*) echo bad;; [[:alpha:]]*) echo alpha;; esac; case ']' in []]) echo br;; esac
case a-b in a[-]b) echo dash;; esac
""",
    r"""x=abc; echo ${x#?} ${x%?} ${x#*} ${x##*} "${x%"c"}" ${x#[a-b]}; y=; echo "${y:-}" ${y:-def} "${y-keep}"
""",
    r"""f() ( x=2; exit 7 ); x=1; f; echo $? $x; g() { return; }; false; g; echo $?
""",
    r"""cat() { :; }; cat <<'A' >/dev/null; echo one; cat=2
text $x
A
echo two $cat
""",
    r"""x=$(cat=3; echo "${cat}"
echo more); echo "$x"; echo $x
""",
]


def dash(script: str, *arguments: str) -> tuple[str, int]:
    program = shutil.which("dash")
    require(program, "dash is not installed")
    result = subprocess.run(
        [str(program), "-c", script, "sh", *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={"PATH": "/nonexistent"},
    )
    return result.stdout, result.returncode


@pytest.mark.parametrize("script", SCRIPTS, ids=range(len(SCRIPTS)))
def test_scripts_do_what_they_do_in_dash(script: str) -> None:
    output, status, reports = evaluate(script, "a b", "c")
    assert (output, status) == dash(script, "a b", "c")
    assert not reports


VALUES = st.sampled_from(["", "a", "b c", " d  e ", "x*y", "a:b::c", "/usr/lib/x.so.1", "7", "-n", "a\\b", "]", "'q'"])
NAMES = st.sampled_from(["x", "y", "z", "u"])
PATTERNS = st.sampled_from(
    ["*", "?", "a*", "*[b-y]", "[!a]*", "*:*", "*/", "*.so*", "'*'", '"a"*', "$y", '"$y"', "\\*"]
)
OPERATORS = st.sampled_from([":-", "-", ":+", "+", "#", "##", "%", "%%"])
WORDS = st.one_of(
    NAMES.map(lambda name: f"${name}"),
    NAMES.map(lambda name: f'"<${{{name}}}>"'),
    st.builds(lambda name, operator, word: f'"${{{name}{operator}{word}}}"', NAMES, OPERATORS, PATTERNS),
    st.builds(lambda name, operator, word: f"${{{name}{operator}{word}}}", NAMES, OPERATORS, PATTERNS),
    st.builds(lambda name: f"${{#{name}}}", NAMES),
    st.builds(lambda name: f'$(printf "%s\\n" "${name}" end)', NAMES),
    st.builds(lambda a, b: f"$(({a} * 3 - {b} % 4))", st.integers(0, 99), st.integers(1, 99)),
)
CONDITIONS = st.one_of(
    st.builds(lambda a, b: f'[ "{a}" = {b} ]', WORDS.filter(lambda w: '"' not in w), st.just("a")),
    st.builds(lambda name: f'[ -z "${name}" -o -n "$y" ]', NAMES),
    st.sampled_from(["true", "false", "! true", "[ 3 -gt 2 ]", "(exit 3)", "{ false; }", "f", "false | true"]),
)
SIMPLE = st.one_of(
    st.lists(WORDS, min_size=1, max_size=3).map(lambda words: "p " + " ".join(words)),
    st.builds(lambda name, word: f"{name}={word}", NAMES, WORDS),
    st.builds(lambda name: f"IFS=:; p ${name}; IFS=' '; p ${name}", NAMES),
    CONDITIONS,
)
STATEMENTS = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.builds(lambda c, a, b: f"if {c}; then\n{a}\nelse {b}; fi", CONDITIONS, inner, inner),
        st.builds(lambda c, a, o: f"{c} {o} {a}", CONDITIONS, inner, st.sampled_from(["&&", "||"])),
        st.builds(
            lambda w, p, a, b: f"case {w} in {p}|a) {a};;\n*) {b};; esac",
            WORDS,
            PATTERNS.filter(lambda p: p != "'*'"),
            inner,
            inner,
        ),
        st.builds(lambda w, a: f"for i in {w} z; do {a}; p $i; done", WORDS, inner),
        st.builds(lambda a, b: f"{{ {a}; {b}; }}", inner, inner),
        st.builds(lambda a: f"( {a} ); p $?", inner),
        st.builds(lambda a: f"echo '1 2' | while read x y; do {a}; done", inner),
    ),
    max_leaves=6,
)


@settings(max_examples=120, deadline=None)
@given(st.lists(STATEMENTS, min_size=1, max_size=4), VALUES, VALUES, st.booleans())
def test_random_scripts_do_what_they_do_in_dash(statements: list[str], first: str, second: str, strict: bool) -> None:
    head = (
        'set -f; p() { for w; do printf \'[%s]\' "$w"; done; echo " $#"; }; f() { return 2; }; x=$1 y=$2; unset z u\n'
    )
    script = head + ("set -e\n" if strict else "") + "\n".join(statements) + "\np end $?"
    output, status, reports = evaluate(script, first, second)
    assert (output, status) == dash(script, first, second)
    assert not reports


def test_what_is_not_a_script_is_refused() -> None:
    for text in ("if true; then", "echo 'x", "case x in", "f() {", "a | | b", "cat <<E\nx", "$(", "fi", "${x!y}", ")"):
        with pytest.raises(ScriptError):
            parse_script(text)
    with pytest.raises(ScriptError, match="deeply"):
        parse_script("$(" * 5000)
