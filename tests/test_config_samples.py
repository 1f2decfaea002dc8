"""Files as people write them, and everything Layerforge says about each: faults, deprecations, what must wait."""

from __future__ import annotations

import json

import pytest
from syrupy.assertion import SnapshotAssertion

from layerforge.config import parse_config, refuse_unsupported
from layerforge.errors import ConfigError, Problem

SAMPLES = {
    "smallest": """\
build:
  python_version: "3.13"
run: "run.py:Runner"
""",
    "from_a_template_with_everything_commented": """\
# How the image is built
build:
  # does the model need a GPU?
  gpu: false

  # Debian packages
  # system_packages:
  #   - "libgl1"

  # Python in the form '3.13' or '3.13.1'
  python_version: "3.13"

  python_requirements: requirements.txt

  # commands after the environment is there
  run:
    # - "echo the environment is ready"
    # - "echo another"

# where predictions are made
predict: "predict.py:Predictor"
""",
    "image_classifier_with_packages": """\
build:
  python_version: "3.11"
  python_packages:
    - "pillow==11.3.0"
    - "onnxruntime==1.22.1"
    - numpy>=2.0,<3
predict: "predict.py:Predictor"
image: registry.example.org/vision/classifier
""",
    "float_python": """\
build:
  gpu: false
  python_version: 3.10
  python_packages: [scikit-learn==1.7.0]
predict: predict.py:Predictor
""",
    "old_float_python": """\
build:
  python_version: 3.7
predict: "predict.py:Predictor"
""",
    "diffusion_on_a_gpu": """\
build:
  gpu: true
  cuda: "12.1"
  python_version: "3.11"
  system_packages:
    - "libgl1-mesa-glx"
    - "libglib2.0-0"
  python_packages:
    - "diffusers==0.27.2"
    - "torch==2.2.2"
    - "transformers==4.39.3"
  run:
    - curl -o /usr/local/bin/fetch -L "https://downloads.example.org/fetch_$(uname -s)_$(uname -m)"
    - chmod +x /usr/local/bin/fetch
predict: "predict.py:Predictor"
""",
    "pip_options_inside_entries": """\
build:
  python_version: "3.11"
  python_packages:
    - "--extra-index-url https://wheels.example.org/cpu"
    - "torch==2.7.1 --index-url https://wheels.example.org/cpu"
    - "git+https://git.example.org/team/package@2d1602a"
    - -f https://wheels.example.org/index.html
predict: predict.py:Predictor
""",
    "concurrency_as_number": """\
build:
  python_version: "3.13"
run: run.py:Runner
concurrency: 32
""",
    "async_language_model": """\
build:
  gpu: true
  python_version: "3.13"
  python_requirements: requirements.txt
run: run.py:Runner
concurrency:
  max: 32
  default_target: 8
environment:
  - HF_HOME=/src/.cache
""",
    "misspelled_and_misplaced": """\
build:
  python_version: "3.11"
  python_package:
    - numpy
  systempackages:
    - ffmpeg
gpu: true
predict: "predict.py:Predictor"
""",
    "environment_in_the_wrong_place": """\
build:
  python_version: "3.11"
  environment:
    - DEBUG=1
predict: predict.py:Predictor
""",
    "environment_as_mapping": """\
build:
  python_version: "3.11"
environment:
  TOKENIZERS_PARALLELISM: "false"
  HF_HOME: /src/cache
predict: predict.py:Predictor
""",
    "environment_of_the_image_itself": """\
build:
  python_version: "3.11"
environment:
  - LD_LIBRARY_PATH=/usr/local/lib
  - NVIDIA_VISIBLE_DEVICES=all
  - OMP_NUM_THREADS=1
predict: predict.py:Predictor
""",
    "first_format_of_2021": """\
environment:
  python_version: "3.8"
  python_packages:
    - torch==1.8.0
model: "model.py:Model"
""",
    "resources_of_another_tool": """\
image: registry.example.org/team/base:cuda
predict: "predict.py:Predictor"
resources:
  gpu: a100
env:
  - MODEL_PATH=/weights
""",
    "predict_without_class": """\
build:
  python_version: "3.11"
predict: predict.py
""",
    "both_run_and_predict": """\
build:
  python_version: "3.13"
run: run.py:Runner
predict: predict.py:Predictor
""",
    "requirements_and_packages": """\
build:
  python_version: "3.11"
  python_requirements: requirements.txt
  python_packages:
    - numpy
predict: predict.py:Predictor
""",
    "training_and_secrets": """\
build:
  python_version: "3.13"
  python_requirements: requirements.txt
  run:
    - command: pip install internal-package
      mounts:
        - type: secret
          id: pip
          target: /etc/pip.conf
run: run.py:Runner
train: train.py:train
image: registry.example.org/team/trainable
""",
    "managed_weights": """\
model: registry.example.org/team/large
build:
  python_version: "3.13"
run: run.py:Runner
weights:
  - name: base
    target: /src/weights/base
    source:
      uri: hf://team/base
      include: ["*.safetensors", "*.json"]
  - name: adapter
    target: /src/weights/adapter
    source:
      - uri: file://./adapter
      - uri: https://files.example.org/extra.tar
        exclude: ["*.md"]
""",
    "own_settings": """\
build:
  python_version: "3.13"
run: run.py:Runner
layerforge:
  platforms: [linux/amd64, linux/arm64]
  max_layers: 60
  ignore:
    - notebooks/**
""",
    "pre_install_from_old_versions": """\
build:
  gpu: false
  python_version: "3.11"
  pre_install:
    - pip install -U pip
  fast: true
predict: predict.py:Predictor
""",
    "tab_indentation": """\
build:
\tpython_version: "3.11"
predict: predict.py:Predictor
""",
    "unquoted_colon": """\
build:
  python_version: "3.11"
  run:
    - echo "done": yes
    - pip install "a" && echo: b
predict: predict.py:Predictor
""",
    "merge_conflict": """\
build:
<<<<<<< HEAD
  python_version: "3.11"
=======
  python_version: "3.12"
>>>>>>> theirs
predict: predict.py:Predictor
""",
    "a_docstring_as_comment": '''\
"""
Builds the demonstration.
"""

build:
  python_version: "3.11"
predict: predict.py:Predictor
''',
    "a_web_page_instead": """\
<!DOCTYPE html>
<html lang="en"><head><title>Not found: 404</title></head></html>
""",
    "a_link_checked_out_as_text": "../shared/cog.yaml",
    "shared_by_an_anchor": """\
build: &build
  python_version: "3.11"
  python_packages: &packages
    - numpy
run: run.py:Runner
""",
    "template_placeholders": """\
build:
  python_version: "{{ python }}"
image: "registry.example.org/<your-username>/<your-model>"
predict: "predict.py:Predictor"
""",
}


def said(text: str) -> str:
    """Everything there is to say about ``text``, as the command line would."""
    try:
        config = parse_config(text, "cog.yaml")
    except ConfigError as error:
        return "".join(_lines("error", problem) for problem in error.problems)
    lines = [_lines("warning", problem) for problem in config.warnings]
    lines += [_lines("error", problem) for problem in refuse_unsupported(config)]
    return "".join([*lines, json.dumps(config.source), "\n"])


def _lines(kind: str, problem: Problem) -> str:
    hint = f"  hint: {problem.hint}\n" if problem.hint else ""
    return f"{kind}: {problem}\n{hint}"


@pytest.mark.parametrize("name", SAMPLES)
def test_sample(name: str, snapshot: SnapshotAssertion) -> None:
    assert said(SAMPLES[name]) == snapshot
