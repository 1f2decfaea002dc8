from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerforge.errors import ConfigError, Problem
from layerforge.requirements import Origin, Requirements, normalise_name, parse_packages, parse_requirements

PATH = "requirements.txt"


class Files:
    """A project of a few files, by path."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files = files

    def read(self, path: str) -> str:
        if path not in self.files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return self.files[path]

    def kind(self, path: str) -> str:
        if path in self.files:
            return "file"
        return "folder" if path == "." or any(name.startswith(f"{path}/") for name in self.files) else ""


def parse(text: str, **files: str) -> Requirements:
    return parse_requirements(text, PATH, Files(files))


def texts(requirements: Requirements) -> list[str]:
    return [line.text for line in requirements.lines]


def problems_of(text: str, **files: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        parse(text, **files)
    return list(caught.value.problems)


# -- files -----------------------------------------------------------------------------------------------------


def test_plain_requirements_with_their_places() -> None:
    found = parse("# heading\n\nnumpy>=1.26,<3\nPillow == 10.0 # why\n  requests[socks]~=2.31 ; python_version>'3.8'\n")
    assert [(line.text, line.name, line.where) for line in found.lines] == [
        ("numpy<3,>=1.26", "numpy", "requirements.txt:3"),
        ("Pillow==10.0", "pillow", "requirements.txt:4"),
        ('requests[socks]~=2.31; python_version > "3.8"', "requests", "requirements.txt:5"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "numpy\\\n==1.26\nscipy\n",
        "numpy \\\n  == \\\n  1.26\nscipy",
        "\ufeffnumpy==1.26\r\nscipy\r\n",
        "numpy==1.26 \\\n# a remark in between\nscipy",
        "numpy==1.26\nscipy\\",
    ],
)
def test_continuation_lines(text: str) -> None:
    assert texts(parse(text)) == ["numpy==1.26", "scipy"]


def test_a_hash_sign_inside_a_word_is_no_comment() -> None:
    url = "https://example.org/six-1.0-py3-none-any.whl#sha256=" + "0" * 64
    (line,) = parse(f"six @ {url}").lines
    assert (line.text, line.hashes) == (f"six @ {url.partition('#')[0]}", ("0" * 64,))


def test_options_of_the_whole_file() -> None:
    found = parse(
        "--index-url=https://one.example.org/simple\n"
        "-i https://two.example.org/simple\n"
        "--extra-index-url https://three.example.org/simple\n"
        "--extra-index-url 'https://${USER}:${TOKEN}@four.example.org/simple'\n"
        "-f https://links.example.org/page.html\n"
        "--trusted-host five.example.org\n--pre\n--require-hashes\n--no-index\nnumpy\n"
    )
    assert found.index_url == "https://two.example.org/simple"
    assert found.extra_index_urls == (
        "https://three.example.org/simple",
        "https://${USER}:${TOKEN}@four.example.org/simple",
    )
    assert found.find_links == ("https://links.example.org/page.html",)
    assert found.trusted_hosts == ("five.example.org",)
    assert (found.prereleases, found.require_hashes, found.no_index) == (True, True, True)


def test_hashes_belong_to_their_requirement() -> None:
    one, two = "a" * 64, "b" * 64
    found = parse(f"six==1.16 \\\n    --hash=sha256:{two} \\\n    --hash sha256:{one}\nnumpy")
    assert [line.hashes for line in found.lines] == [(one, two), ()]


def test_nested_files_are_relative_to_the_file_that_names_them() -> None:
    found = parse("-r reqs/base.txt\nscipy", **{"reqs/base.txt": "numpy\n-r ./more.txt\n-c ../pins.txt",
                  "reqs/more.txt": "pandas", "pins.txt": "numpy<3"})  # fmt: skip
    assert [(line.text, line.where) for line in found.lines] == [
        ("numpy", "reqs/base.txt:1"),
        ("pandas", "reqs/more.txt:1"),
        ("scipy", "requirements.txt:2"),
    ]
    assert [(line.text, line.where) for line in found.constraints] == [("numpy<3", "pins.txt:1")]


def test_the_same_requirement_twice_counts_once() -> None:
    found = parse("numpy\nnumpy\nnumpy<3\n")
    assert [(line.text, line.line) for line in found.lines] == [("numpy", 1), ("numpy<3", 3)]


@pytest.mark.parametrize("text", ["cog", "cog==0.9.4", "Cog>=0.1", "coglet", "layerforge_runtime"])
def test_what_the_image_has_anyway_is_left_out_and_told(text: str) -> None:
    found = parse(f"numpy\n{text}\n")
    assert texts(found) == ["numpy"]
    assert found.notices[0].startswith("requirements.txt:2: ")
    assert "left out" in found.notices[0]


@pytest.mark.parametrize("option", ["--prefer-binary", "--global-option=x", "--use-feature x", "-e ."])
def test_options_without_effect_are_told(option: str) -> None:
    found = parse(f"{option}\nnumpy")
    assert texts(found) == ["numpy"]
    assert len(found.notices) == 1


def test_wheels_by_url() -> None:
    url = "https://example.org/w/Some_Pkg-1.0%2Bcu121-py3-none-any.whl"
    assert [(line.name, line.text) for line in parse(url).lines] == [("some-pkg", f"some-pkg @ {url}")]
    assert texts(parse(f"some-pkg[x] @ {url}")) == [f"some-pkg[x] @ {url}"]


# -- places ----------------------------------------------------------------------------------------------------

TREE = {"lib/tool/pyproject.toml": "", "dist/tool-1.0-py3-none-any.whl": "", "dist/tool-1.0.tar.gz": "", "setup.py": ""}


@pytest.mark.parametrize(
    ("text", "name", "origin"),
    [
        ("./dist/tool-1.0-py3-none-any.whl", "tool", Origin("wheel", path="dist/tool-1.0-py3-none-any.whl")),
        ("dist/tool-1.0-py3-none-any.whl", "tool", Origin("wheel", path="dist/tool-1.0-py3-none-any.whl")),
        ("file:dist/tool-1.0-py3-none-any.whl", "tool", Origin("wheel", path="dist/tool-1.0-py3-none-any.whl")),
        ("Tool @ ./dist/tool-1.0.tar.gz", "tool", Origin("archive", path="dist/tool-1.0.tar.gz")),
        ("./lib/tool", "", Origin("folder", path="lib/tool")),
        ("lib/tool", "", Origin("folder", path="lib/tool")),
        ("-e ./lib/tool", "", Origin("folder", path="lib/tool", editable=True)),
        ("-e .", "", Origin("folder", path=".", editable=True)),
        ("https://e.org/my-tool-1.0.tar.gz", "my-tool", Origin("archive", url="https://e.org/my-tool-1.0.tar.gz")),
        ("https://e.org/o/r/archive/v1.zip", "", Origin("archive", url="https://e.org/o/r/archive/v1.zip")),
        ("git+https://e.org/r.git", "", Origin("git", url="https://e.org/r.git")),
        ("git+https://e.org/r@v1.0", "", Origin("git", url="https://e.org/r", reference="v1.0")),
        ("git+ssh://git@e.org/r@main", "", Origin("git", url="ssh://git@e.org/r", reference="main")),
        (
            "git+https://${T}@e.org/r@a/b#egg=Tool[x]&subdirectory=py",
            "tool",
            Origin("git", url="https://${T}@e.org/r", reference="a/b", subdirectory="py"),
        ),
        ("-e git+https://e.org/r.git#egg=tool", "tool", Origin("git", url="https://e.org/r.git")),
        ("x @ git+https://e.org/r", "x", Origin("git", url="https://e.org/r")),
    ],
)
def test_places(text: str, name: str, origin: Origin) -> None:
    (line,) = parse(text, **TREE).lines
    assert (line.name, line.origin) == (name, origin)


def test_extras_and_markers_of_places() -> None:
    found = parse("tool[a,b] @ git+https://e.org/r ; python_version>'3'\n./lib/tool[c]\n", **TREE)
    assert [(line.extras, line.marker) for line in found.lines] == [(("a", "b"), "python_version>'3'"), (("c",), "")]


def test_passwords_are_no_part_of_what_is_written_down() -> None:
    text = "x @ git+https://${U}:${P}@e.org/r\n--index-url https://${U}:${P}@e.org/simple\n"
    found = parse(text)
    assert "${P}" not in str(found.identity)
    assert found.index_url == "https://${U}:${P}@e.org/simple"


def test_paths_are_seen_from_the_project_and_else_from_the_file() -> None:
    files = {**TREE, "reqs/a.txt": "./lib/tool\n./b-1.0-py3-none-any.whl", "reqs/b-1.0-py3-none-any.whl": ""}
    assert [line.origin.path for line in parse("-r reqs/a.txt", **files).lines if line.origin] == [
        "lib/tool",
        "reqs/b-1.0-py3-none-any.whl",
    ]


def test_folders_of_packages() -> None:
    assert parse("-f ./dist\n--find-links=https://e.org/\nx", **TREE).find_links == ("dist", "https://e.org/")


def test_which_formats_are_wanted() -> None:
    found = parse("--no-binary numpy,Foo_Bar\n--only-binary :all:\n--no-binary=:none:\n--no-binary six\nx")
    assert (found.no_binary, found.only_binary) == (("six",), (":all:",))
    assert [found.must_build(name) for name in ("six", "numpy")] == [True, False]
    assert [found.may_build(name) for name in ("six", "numpy")] == [True, False]


def test_settings_of_the_backend_belong_to_their_requirement() -> None:
    found = parse("""x --config-settings="--global-option=--no-ext -v" -C a=b\ny""")
    assert [line.settings for line in found.lines] == [("--global-option=--no-ext -v", "a=b"), ()]


# -- entries of cog.yaml ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry",
    [
        "torch==2.0.1 --extra-index-url https://example.org/cu118",
        "torch==2.0.1 --extra-index-url=https://example.org/cu118",
        "--extra-index-url https://example.org/cu118 torch==2.0.1",
        "  torch == 2.0.1   --extra-index-url 'https://example.org/cu118'  # for CUDA",
    ],
)
def test_options_inside_an_entry(entry: str) -> None:
    found = parse_packages([("numpy", 4), (entry, 5)], "cog.yaml", Files({}))
    assert [(line.text, line.where) for line in found.lines] == [
        ("numpy", "cog.yaml:4"),
        ("torch==2.0.1", "cog.yaml:5"),
    ]
    assert found.extra_index_urls == ("https://example.org/cu118",)


def test_an_entry_cannot_include_a_file() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_packages([("-r more.txt", 9)], "cog.yaml", Files({}))
    assert (caught.value.problems[0].path, caught.value.problems[0].line) == ("cog.yaml", 9)
    assert "python_requirements" in caught.value.problems[0].hint


def test_empty_entries_are_passed_over() -> None:
    assert parse_packages([("", 1), ("  # nothing", 2)], "cog.yaml", Files({})) == Requirements()


# -- refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("hg+https://example.org/x", "hg repository"),
        ("git+file:///srv/x.git", "other machines cannot reach"),
        ("./dist/x-1.0-py3-none-any.whl", "there is no ./dist/x-1.0-py3-none-any.whl in the project"),
        ("x-1.0-py3-none-any.whl", "there is no x-1.0-py3-none-any.whl in the project"),
        ("../x", "outside of the project"),
        ("/opt/x", "outside of the project"),
        ("~/x", "outside of the project"),
        ("file:///opt/x.whl", "outside of the project"),
        ("x @ file:///opt/x.whl", "outside of the project"),
        ("x @ ftp://example.org/x.whl", "cannot be fetched"),
        ("-e ./lib", "there is no ./lib"),
        ("-e numpy", "there is no numpy in the project"),
        ("https://example.org/page", "must be that of a wheel or a source archive"),
        ("git+https://example.org/x.git#subdirectory=../y", "leads out of the source"),
        ("x @ https://user:token@example.org/x.zip", "a password stands in the URL (https://example.org/x.zip)"),
        ("git+https://0123456789012345token@example.org/x.git", "a password stands in the URL"),
        ("--extra-index-url https://user:token@example.org/simple", "a password stands in --extra-index-url"),
        ("-c bad.txt", "bad.txt cannot be read"),
        ("https://example.org/strange.whl", "not the name of a wheel"),
        ("-f ./wheels", "there is no ./wheels in the project"),
        ("--no-deps", "--no-deps"),
        ("--frobnicate", "--frobnicate is not known"),
        ("--extra-index-url", "no value"),
        ("numpy 1.26", "is not a requirement"),
        ("numpy>=", "is not a requirement"),
        ("numpy --hash=md5:abc", "none of its hashes is a sha256"),
        ("numpy --hash=sha256:abc", "not a sha256 digest"),
        ("-r missing.txt", "missing.txt cannot be read: No such file"),
        ("-r ../outside.txt", "outside of the project"),
        ("-r https://example.org/requirements.txt", "outside of the project"),
        ("-r requirements.txt", "includes itself"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_its_line(line: str, message: str) -> None:
    (problem,) = problems_of(f"scipy\n{line}\n")
    assert (problem.path, problem.line) == (PATH, 2)
    assert message in problem.message
    assert "token" not in problem.message


def test_one_equals_sign_is_put_right() -> None:
    assert problems_of("numpy=1.26")[0].hint == "write `numpy==1.26`"


def test_every_problem_is_reported() -> None:
    found = problems_of("numpy=1\n-r more.txt\nscipy=2", **{"more.txt": "\npandas=3"})
    assert [(problem.path, problem.line) for problem in found] == [(PATH, 1), ("more.txt", 2), (PATH, 3)]


# -- identity --------------------------------------------------------------------------------------------------


def test_identity_is_what_decides_and_nothing_else() -> None:
    base = parse("numpy\nscipy\n--extra-index-url https://example.org/a")
    assert parse("# moved\nscipy\n\nnumpy # x\n--extra-index-url=https://example.org/a\ncog").identity == base.identity
    for other in ("numpy<3\nscipy", "numpy", "numpy\nscipy\n-c c.txt", "numpy\nscipy\n--pre"):
        assert parse(other, **{"c.txt": "six<2"}).identity != base.identity


def test_origins_are_found_by_any_spelling() -> None:
    origin = parse("scikit_learn>=1\n").find_origin("Scikit-Learn")
    assert origin is not None
    assert origin.where == "requirements.txt:1"
    assert parse("numpy").find_origin("scipy") is None


def test_normalise_name() -> None:
    assert normalise_name("Foo.-_Bar") == "foo-bar"


@given(st.text(max_size=200))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        parse(text)
    except ConfigError as error:
        assert all(problem.message and problem.line for problem in error.problems)
