"""cog.yaml: what is understood, what is refused, and where the blame lands."""

from __future__ import annotations

import json
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerforge.config import Config, Entry, PythonVersion, decode_config, parse_config, refuse_unsupported
from layerforge.errors import ConfigError


def parse(text: str) -> Config:
    return parse_config(textwrap.dedent(text), "cog.yaml")


def problems(text: str) -> list[tuple[int, str, str]]:
    """Line, message and hint of everything found wrong."""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert all(problem.path == "cog.yaml" for problem in caught.value.problems)
    return [(problem.line, problem.message, problem.hint) for problem in caught.value.problems]


def warnings(text: str) -> list[tuple[int, str]]:
    return [(warning.line, warning.message) for warning in parse(text).warnings]


def refused(text: str) -> list[tuple[int, str]]:
    return [(problem.line, problem.message) for problem in refuse_unsupported(parse(text))]


class TestUnderstood:
    def test_everything_at_once(self) -> None:
        config = parse("""
            build:
              gpu: true
              cuda: "12.4"
              cudnn: 9
              python_version: "3.11.4"
              python_requirements: requirements.txt
              system_packages: [ffmpeg, libgl1]
              pre_install: ["echo first"]
              run:
                - echo one
                - command: pip download secret-package
                  mounts: [{type: secret, id: pip, target: /etc/pip.conf}]
              sdk_version: 0.18.0
            model: registry.example.org/team/model
            run: "src/run.py:Runner"
            train: train.py:train
            concurrency: {max: 4, default_target: 2}
            environment:
              - A=1
              - B=
              - "C= spaced = twice "
            weights:
              - name: base
                target: /src/weights/
                source: {uri: "hf://team/model", include: ["*.safetensors"]}
            layerforge:
              base: debian
              platforms: [linux/amd64, linux/arm64]
              compression: zstd
              bytecode: false
              max_layers: 40
              ignore: ["data/**"]
        """)
        assert config.python_version == PythonVersion(11, 4)
        assert (config.settings.compression, config.settings.bytecode) == ("zstd", False)
        assert (config.gpu, config.cuda, config.cudnn, config.sdk_version) == (True, "12.4", "9", "0.18.0")
        assert [package.text for package in config.system_packages] == ["ffmpeg", "libgl1"]
        assert config.build_commands[1].mounts[0].target == "/etc/pip.conf"
        assert config.target is not None and str(config.target) == "src/run.py:Runner"
        assert config.target.mode == "run"
        assert config.env == (("A", "1"), ("B", ""), ("C", " spaced = twice "))
        assert config.weights[0].target == "/src/weights"
        assert config.weights[0].sources[0].include == ("*.safetensors",)
        assert config.settings.platforms == ("linux/amd64", "linux/arm64")
        assert config.settings.max_layers == 40
        assert config.lines["build.python_version"] == 6

    def test_label_is_what_cog_writes(self) -> None:
        config = parse("""
            build:
              gpu: false
              python_version: 3.11
              python_packages: ["numpy==2.3.1"]
              run: [echo one, {command: echo two, mounts: [{type: secret, id: a, target: /a}]}]
            predict: predict.py:Predictor
            image: registry.example.org/team/model
            environment: ["A=1"]
        """)
        assert json.loads(json.dumps(config.source)) == {
            "build": {
                "python_version": "3.11",
                "python_packages": ["numpy==2.3.1"],
                "run": [
                    {"command": "echo one"},
                    {"command": "echo two", "mounts": [{"type": "secret", "id": "a", "target": "/a"}]},
                ],
            },
            "predict": "predict.py:Predictor",
            "image": "registry.example.org/team/model",
            "environment": ["A=1"],
        }

    def test_empty_file_is_all_defaults(self) -> None:
        for text in ("", "# only a comment\n", "---\n", "build:\n", "\ufeff", "null"):
            config = parse(text)
            assert config.python_version == PythonVersion(13, None)
            assert config.target is None
            assert config.source == {"build": {"python_version": "3.13"}}

    @pytest.mark.parametrize(
        ("written", "version"),
        [
            ("3.10", "3.10"),
            ('"3.10"', "3.10"),
            ("'3.13'", "3.13"),
            ("3.7", "3.7"),
            ("3.11.4", "3.11.4"),
            ("3.110", "3.110"),
            ('" 3.12 "', "3.12"),
        ],
    )
    def test_python_version_is_read_as_written(self, written: str, version: str) -> None:
        assert str(parse(f"build:\n  python_version: {written}\n").python_version) == version

    @pytest.mark.parametrize("key", ["run", "python_packages", "system_packages", "pre_install"])
    def test_list_of_only_comments_is_absent(self, key: str) -> None:
        config = parse(f"build:\n  {key}:\n    # - nothing\n  python_version: 3.11\nrun: run.py:R\n")
        assert refuse_unsupported(config) == ()
        assert config.warnings == ()

    def test_null_at_top_level_is_absent(self) -> None:
        config = parse("run: run.py:R\nenvironment:\nweights:\nconcurrency:\nimage:\ntrain:\nlayerforge:\n")
        assert refuse_unsupported(config) == ()

    def test_pip_options_inside_a_package_stay_with_their_line(self) -> None:
        config = parse("""
            build:
              python_packages:
                - torch==2.7.1 --extra-index-url https://download.example.org/whl/cpu
                - "--find-links https://wheels.example.org"
                - numpy
        """)
        assert config.python_packages[0].line == 4
        assert config.python_packages[1] == Entry("--find-links https://wheels.example.org", 5)

    def test_anchors_and_merge_keys(self) -> None:
        config = parse("""
            build: &build
              python_version: "3.11"
              gpu: false
            run: run.py:R
        """)
        assert config.python_version.minor == 11
        merged = parse("""
            build:
              <<: {python_version: "3.11", gpu: true}
              gpu: false
        """)
        assert (merged.python_version.minor, merged.gpu) == (11, False)

    @pytest.mark.parametrize("word", ["true", "True", "yes", "on"])
    def test_booleans_of_yaml_1_1(self, word: str) -> None:
        assert parse(f"build:\n  gpu: {word}\n").gpu is True

    def test_concurrency_as_a_bare_number(self) -> None:
        config = parse("concurrency: 32\n")
        assert config.concurrency is not None and config.concurrency.max == 32
        assert config.warnings[0].hint == "write `max: 32`, indented, below `concurrency:`"

    def test_windows_line_ends_and_byte_order_marks(self) -> None:
        text = "build:\r\n  python_version: '3.11'\r\nrun: run.py:R\r\n"
        for data in (text.encode(), text.encode("utf-8-sig"), text.encode("utf-16")):
            config = decode_config(data, "cog.yaml")
            assert config.python_version.minor == 11
            assert config.lines["run"] == 3

    def test_target_path_is_normalized(self) -> None:
        target = parse("run: ./src/../run.py:Runner\n").target
        assert target is not None and target.file == "run.py"


class TestRefused:
    def test_all_problems_at_once_in_file_order(self) -> None:
        assert [line for line, _, _ in problems("""
            build:
              python_verion: "3.11"
              gpu: maybe
              system_packages: ffmpeg
            predict: predict.py
            environment: ["PATH=/x"]
            colour: blue
        """)] == [3, 4, 5, 6, 7, 8]  # fmt: skip

    @pytest.mark.parametrize(
        ("text", "line", "message", "hint"),
        [
            ("build:\n  python_verion: 3\n", 2, "build.python_verion: unknown key", "did you mean python_version?"),
            ("gpu: true\n", 1, "gpu: unknown key", "move it under `build:`"),
            ("build:\n  predict: a.py:B\n", 2, "build.predict: unknown key", "move it to the top level of the file"),
            ("predictor: a.py:B\n", 1, "predictor: unknown key", "did you mean predict?"),
            ("platforms: [linux/amd64]\n", 1, "platforms: unknown key", "move it under `layerforge:`"),
            ("build:\n  gpu: 1\n", 2, "build.gpu: expected true or false, found '1'", "write `gpu: true`"),
            ("build: [gpu]\n", 1, "build: expected a mapping, found a list", "below `build:`"),
            ("build:\n  run: echo a\n", 2, "build.run: expected a list of commands", "below it `- echo a`"),
            ("build:\n  run: run.py:R\n", 2, "build.run: expected a list of commands", "top level"),
            ("build:\n  run:\n    - echo a: b\n", 3, "build.run: an item without `command`", "in quotes"),
            ("run:\n  - echo a\n", 2, "run: expected file.py:Name, found a list", "under `build:`"),
            ("run: run.py\n", 1, "run: 'run.py' is not of the form file.py:Name", '`run: "run.py:Runner"`'),
            ("run: run.py:my-runner\n", 1, "run: 'my-runner' is not the name of a class", "run.py:Runner"),
            ("run: ../run.py:R\n", 1, "run: ../run.py lies outside the project", ""),
            ("run: /src/run.py:R\n", 1, "run: /src/run.py lies outside the project", ""),
            ("run: a.py:A\npredict: b.py:B\n", 2, "predict: cannot stand beside run", "keep run"),
            ("environment: {A: 1}\n", 1, "environment: expected a list, found a mapping", '- "A=1"'),
            ("environment:\n  - A: 1\n", 2, "environment: expected a string, found a mapping", "NAME=value"),
            ("environment: [A]\n", 1, "environment: 'A' is not of the form NAME=value", "NAME=value"),
            ("environment: ['1A=b']\n", 1, "environment: '1A=b' is not of the form NAME=value", "NAME=value"),
            ("environment: [CUDA_HOME=/x]\n", 1, "environment: CUDA_HOME is reserved", "your code"),
            ("environment:\n- A=1\n- A=2\n", 3, "environment: A is given twice, first on line 2", "keep one"),
            ("concurrency: {max: 0}\n", 1, "concurrency.max: 0 is too small", ""),
            ("concurrency: {}\n", 1, "concurrency: needs `max`", "max: 1"),
            ("concurrency: {max: two}\n", 1, "concurrency.max: expected a whole number, found 'two'", ""),
            ("image: Team/Model\n", 1, "image: 'Team/Model': upper-case letters are not allowed", ""),
            ("model: example.org/m:1\n", 1, "model: names a repository, without tag and digest", "-t"),
            ("image: a/b\nmodel: a/b\n", 2, "model: cannot stand beside image", "keep one"),
            ("build: {python_version: 2.7}\n", 1, "build.python_version: Python 2.7 is not supported", "3.13"),
            ("build: {python_version: 3}\n", 1, "build.python_version: 3 lacks the minor version", "3.13"),
            ("build: {python_version: 3.1}\n", 1, "build.python_version: Python 3.1 is not supported", '"3.10"'),
            ("build: {python_version: '>=3.10'}\n", 1, "build.python_version: '>=3.10' is not a Python version", ""),
            ("build: {python_version: [3.10]}\n", 1, "build.python_version: expected a version, found a list", ""),
            ("build: {cuda: 12}\n", 1, "build.cuda: '12' is not a CUDA version", "12.4"),
            ("build: {cuda: '10.2'}\n", 1, "build.cuda: 10.2 is too old", "11.0"),
            ("build:\n  python_find_links: [a]\n", 2, "build.python_find_links: no longer understood", "--find-links"),
            ("build: {system_packages: [a, ]}\nbuild: {}\n", 2, "build: given twice, first on line 1", "merge"),
            ("weights: [{name: A b, target: /x, source: {uri: y}}]\nmodel: a/b\n", 1, "weights: 'A b' cannot", ""),
            ("weights: [{name: a, target: x, source: {uri: y}}]\nmodel: a/b\n", 1, "weights: 'x' cannot be a", ""),
            ("weights: [{name: a, target: /x}]\nmodel: a/b\n", 1, "weights: an entry without `source`", ""),
            ("weights: [{name: a, target: /x, source: {uri: y}}]\n", 1, "weights: need model", "add `model:"),
            ("layerforge: {platforms: [windows/amd64]}\n", 1, "layerforge.platforms: 'windows/amd64' is not", ""),
            ("layerforge: {compression: lzma}\n", 1, "layerforge.compression: 'lzma' is not one of", ""),
            ("layerforge: {max_layers: 500}\n", 1, "layerforge.max_layers: 500 is not between", ""),
        ],
    )
    def test_one_fault(self, text: str, line: int, message: str, hint: str) -> None:
        ((found_line, found_message, found_hint),) = problems(text)
        assert found_line == line
        assert found_message.startswith(message)
        assert hint in found_hint

    def test_both_kinds_of_python_packages(self) -> None:
        ((line, message, hint),) = problems(
            "build:\n  python_requirements: requirements.txt\n  python_packages: [numpy]\n"
        )
        assert (line, message) == (3, "build.python_packages: cannot stand beside python_requirements")
        assert "requirements.txt" in hint

    def test_weight_targets_must_not_overlap(self) -> None:
        found = problems("""
            model: example.org/m
            weights:
              - {name: a, target: /src/w, source: {uri: x}}
              - {name: a, target: /src/w/inner, source: [{uri: y, exclude: ["!z"]}]}
        """)
        assert [message for _, message, _ in found] == [
            "weights.source: '!z' negates, which patterns here cannot",
            "weights: the name a is given twice, first on line 4",
            "weights: target /src/w/inner overlaps /src/w",
        ]


class TestNotYaml:
    @pytest.mark.parametrize(
        ("text", "line", "message"),
        [
            ("build:\n\tgpu: true\n", 2, "a tab stands where YAML wants spaces"),
            ("build:\n  run:\n  - a\n <<< b\n", 4, "not YAML: "),
            ("a: b: c\n", 1, "not YAML: mapping values are not allowed here"),
            ("build: {gpu: true\n", 2, "not YAML: "),
            ("run: *runner\n", 1, "not YAML: found undefined alias"),
            ("a: 1\n---\nb: 2\n", 2, "holds more than one document"),
            ("<<<<<<< HEAD\nrun: a.py:A\n=======\n>>>>>>> x\n", 1, "an unresolved merge conflict"),
            ("a: 1\nb: \x00\n", 2, "character U+0000 is not allowed in YAML"),
            ("../shared/cog.yaml", 1, "holds only the path '../shared/cog.yaml', as a symbolic link"),
            ("just some prose\n", 1, "the file: expected a mapping, found 'just some prose'"),
            ("- a\n- b\n", 1, "the file: expected a mapping, found a list"),
            ("a: !!python/object:os.system x\n", 1, "the tag tag:yaml.org,2002:python/object:os.system has no"),
            ("build: &b\n  run: [*b]\n", 1, "a value that contains itself"),
            ("? [a]\n: b\n", 1, "a key must be a single word"),
            ("build:\n  <<: text\n", 2, "`<<` merges mappings only"),
            ("[" * 5000, 0, "nested too deeply"),
        ],
    )
    def test_fault_is_named(self, text: str, line: int, message: str) -> None:
        found = problems(text)
        assert any(where == line and what.startswith(message) for where, what, _ in found), found

    def test_other_encodings(self) -> None:
        with pytest.raises(ConfigError) as caught:
            decode_config("run: a.py:A\n# caf\u00e9\n".encode("latin-1"), "cog.yaml")
        assert str(caught.value) == "cog.yaml:2: byte 0xe9 is not UTF-8 text"

    def test_aliases_cannot_multiply(self) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
        found = problems("\n".join(lines) + "\nbuild: {system_packages: *a29}\n")
        assert len(found) == 30 + 9

    def test_huge_files_are_refused_unread(self) -> None:
        ((_, message, _),) = problems("#" * 2_000_000)
        assert "too many for a configuration file" in message

    def test_problems_are_counted_not_listed_without_end(self) -> None:
        found = problems("".join(f"key{n}: 1\n" for n in range(1000)))
        assert len(found) == 101
        assert found[-1][1] == "and 900 more problems"

    def test_names_cannot_carry_terminal_controls(self) -> None:
        ((_, message, _),) = problems('"\\e[31mred": 1\n')
        assert message == "?[31mred: unknown key"


class TestWarnings:
    @pytest.mark.parametrize(
        ("text", "line", "message"),
        [
            ("predict: predict.py:Predictor\n", 1, "predict is deprecated"),
            ("build:\n  python_packages: [numpy]\n", 2, "build.python_packages is deprecated"),
            ("build:\n  pre_install: [echo]\n", 2, "build.pre_install is deprecated"),
            ("concurrency:\n  max: 1\n", 1, "concurrency.max is deprecated"),
            ("build:\n  sdk_version: 0.18.0\n", 2, "build.sdk_version has no effect"),
            ("build:\n  cuda: 12.4\n", 2, "build.cuda has no effect without `gpu: true`"),
            ("build:\n  fast: true\n", 2, "build.fast has no effect any more"),
        ],
    )
    def test_said_with_a_line(self, text: str, line: int, message: str) -> None:
        ((found_line, found_message),) = warnings(text)
        assert found_line == line
        assert found_message.startswith(message)

    def test_every_warning_says_what_to_write(self) -> None:
        config = parse("predict: a.py:A\nbuild: {python_packages: [a], pre_install: [b]}\nconcurrency: {max: 1}\n")
        assert all(warning.hint for warning in config.warnings)


class TestUnsupported:
    def test_supported_config_passes(self) -> None:
        assert refused("build: {gpu: false, python_version: 3.11, python_packages: [numpy]}\nrun: a.py:A\n") == []

    @pytest.mark.parametrize(
        ("text", "line", "message"),
        [
            ("build:\n  gpu: true\n", 2, "build.gpu: GPU images"),
            ("build:\n  pre_install: [a]\n", 2, "build.pre_install: commands"),
            ("build:\n  run: [a]\n", 2, "build.run: commands"),
            ("layerforge:\n  ignore: [x]\n", 2, "layerforge.ignore"),
        ],
    )
    def test_later_features_are_named(self, text: str, line: int, message: str) -> None:
        ((found_line, found_message),) = refused(text + "run: a.py:A\n")
        assert found_line == line
        assert found_message.startswith(message)

    @pytest.mark.parametrize(("version", "nearest"), [("3.7", "3.10"), ("3.9", "3.10"), ("3.15", "3.14")])
    def test_unsupported_python_names_the_nearest(self, version: str, nearest: str) -> None:
        (problem,) = refuse_unsupported(parse(f"build:\n  python_version: {version}\nrun: a.py:A\n"))
        assert problem.line == 2
        assert nearest in problem.hint

    @pytest.mark.parametrize("version", ["3.7", "3.8.10", "3.9"])
    def test_older_python_says_what_usually_needs_changing(self, version: str) -> None:
        (problem,) = refuse_unsupported(parse(f'build:\n  python_version: "{version}"\nrun: a.py:A\n'))
        assert 'python_version: "3.10"' in problem.hint
        for word in ("numpy before 1.21.2", "torch before 1.11", "collections.abc", "docs/python.md"):
            assert word in problem.hint

    def test_older_python_names_the_pins_that_have_no_wheel(self) -> None:
        packages = (
            "torch==1.7.1",
            "numpy == 1.21.2",
            "Scikit_Learn===0.24",
            "pillow>=8",
            "foo==0.1",
            "torch==1.9.0+cu111",
        )
        text = 'build:\n  python_version: "3.8"\n  python_packages:\n' + "".join(f'    - "{p}"\n' for p in packages)
        (problem,) = refuse_unsupported(parse(f"{text}run: a.py:A\n"))
        assert problem.line == 2
        assert "torch==1.7.1 (line 4) to 1.11.0 or later" in problem.hint
        assert "Scikit_Learn===0.24 (line 6) to 1.0.2 or later" in problem.hint
        assert "torch==1.9.0+cu111 (line 9) to 1.11.0 or later" in problem.hint
        assert not any(word in problem.hint for word in ("numpy", "pillow", "foo"))

    def test_nothing_to_run(self) -> None:
        ((_, message),) = refused("build: {python_version: 3.11}\n")
        assert message.startswith("names nothing to run")


_KEYS = """
    build gpu cuda cudnn python_version python_packages python_requirements system_packages pre_install run sdk_version
    image model predict train concurrency max environment weights name target source uri include mounts command type id
    layerforge base python platforms compression bytecode max_layers ignore <<
"""
_WORDS = st.sampled_from(_KEYS.split())
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20), st.dates(),
    st.sampled_from(["3.11", "run.py:Runner", "A=1", "linux/amd64", "/src/w", "example.org/a/b"]),
)  # fmt: skip
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(_WORDS, st.text()), inner, max_size=5)
    ),
    max_leaves=20,
)


def _check(text: str) -> None:
    try:
        config = parse_config(text, "cog.yaml")
    except ConfigError as error:
        assert error.problems
        assert all("\n" not in str(problem) for problem in error.problems)
    else:
        json.dumps(config.source)
        refuse_unsupported(config)


class TestProperties:
    @given(st.text())
    def test_any_text(self, text: str) -> None:
        _check(text)

    @given(st.text(alphabet=" \n\t-:#&*!|>%@`'\"{}[],?<=~0.abAB", max_size=80))
    def test_any_punctuation(self, text: str) -> None:
        _check(text)

    @given(st.binary())
    def test_any_bytes(self, data: bytes) -> None:
        try:
            decode_config(data, "cog.yaml")
        except ConfigError as error:
            assert error.problems

    @given(st.dictionaries(_WORDS, _VALUES, max_size=6))
    @settings(max_examples=300)
    def test_any_mapping(self, mapping: dict[str, object]) -> None:
        # JSON is YAML, and needs no choice of style.
        _check(json.dumps(mapping, default=str))

    @given(st.integers(0, 999), st.one_of(st.none(), st.integers(0, 9999)))
    def test_versions_round_trip(self, minor: int, patch: int | None) -> None:
        version = PythonVersion(minor, patch)
        if str(version) != "3.1":
            assert parse_config(f"build: {{python_version: {version}}}", "c").python_version == version
