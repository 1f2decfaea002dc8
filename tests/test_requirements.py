from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerforge.errors import ConfigError, Problem
from layerforge.requirements import Requirements, normalise_name, parse_packages, parse_requirements

PATH = "requirements.txt"


def reader(files: dict[str, str]) -> Callable[[str], str]:
    def read(path: str) -> str:
        if path not in files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return files[path]

    return read


def parse(text: str, **files: str) -> Requirements:
    return parse_requirements(text, PATH, reader({name.replace("__", "/"): content for name, content in files.items()}))


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
    assert texts(parse(f"six @ {url}")) == [f"six @ {url}"]


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
    found = parse("-r reqs/base.txt\nscipy", reqs__base="", **{"reqs/base.txt": "numpy\n-r ./more.txt\n-c ../pins.txt",
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


@pytest.mark.parametrize("option", ["--prefer-binary", "--only-binary=:all:", "--use-feature x", "-e ."])
def test_options_without_effect_are_told(option: str) -> None:
    found = parse(f"{option}\nnumpy")
    assert texts(found) == ["numpy"]
    assert len(found.notices) == 1


def test_wheels_by_url() -> None:
    url = "https://example.org/w/Some_Pkg-1.0%2Bcu121-py3-none-any.whl"
    assert [(line.name, line.text) for line in parse(url).lines] == [("some-pkg", f"some-pkg @ {url}")]
    assert texts(parse(f"some-pkg[x] @ {url}")) == [f"some-pkg[x] @ {url}"]


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
    found = parse_packages([("numpy", 4), (entry, 5)], "cog.yaml")
    assert [(line.text, line.where) for line in found.lines] == [
        ("numpy", "cog.yaml:4"),
        ("torch==2.0.1", "cog.yaml:5"),
    ]
    assert found.extra_index_urls == ("https://example.org/cu118",)


def test_an_entry_cannot_include_a_file() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_packages([("-r more.txt", 9)], "cog.yaml")
    assert (caught.value.problems[0].path, caught.value.problems[0].line) == ("cog.yaml", 9)
    assert "python_requirements" in caught.value.problems[0].hint


def test_empty_entries_are_passed_over() -> None:
    assert parse_packages([("", 1), ("  # nothing", 2)], "cog.yaml") == Requirements()


# -- refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("git+https://token@example.org/x.git@main", "repository yet"),
        ("x @ git+ssh://git@example.org/x.git", "repository yet"),
        ("./dist/x-1.0-py3-none-any.whl", "path yet"),
        ("x-1.0-py3-none-any.whl", "path yet"),
        ("../x", "path yet"),
        ("/opt/x", "path yet"),
        ("file:///opt/x.whl", "path yet"),
        ("x @ file:///opt/x.whl", "path yet"),
        ("-e ./lib", "editable"),
        ("--editable=git+https://example.org/x.git", "editable"),
        ("--no-binary :all:", "built from source yet"),
        ("numpy --no-binary numpy", "built from source yet"),
        ("https://example.org/x-1.0.tar.gz", "must be that of a wheel"),
        ("x @ https://example.org/x-1.0.zip", "must be that of a wheel"),
        ("https://example.org/strange.whl", "not the name of a wheel"),
        ("-f ./wheels", "folder of packages"),
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
