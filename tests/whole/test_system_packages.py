"""Images with system packages, in a real engine: what people install them for works, and dpkg and apt are content."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from layerforge.sources.debian import find_mirrors
from tests.conftest import docker_client, require
from tests.fidelity.package_sets import MINORS
from tests.whole.conftest import Forge

pytestmark = [pytest.mark.network, pytest.mark.engine, pytest.mark.registry, pytest.mark.slow]

PACKAGES = [
    *("ffmpeg", "git", "tesseract-ocr", "imagemagick", "espeak-ng", "libgl1", "libglib2.0-0"),
    *("librsvg2-common", "libgdk-pixbuf2.0-bin", "fontconfig", "fonts-dejavu-core"),
]

CONFIG = """\
build:
  python_version: "{minor}"
  python_packages: ["opencv-python==4.12.0.88"]
  system_packages: {packages}
run: "run.py:run"
"""


class Container:
    """A container of the image that does nothing until it is asked. It shares the host's network."""

    def __init__(self, host: str, image: str, release: str) -> None:
        self._client = [str(docker_client()), "--host", host]
        self.release = release
        run = [*self._client, "run", "--detach", "--network=host", "--entrypoint=sleep", image, "infinity"]
        self._name = subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip()

    def sh(self, script: str, *arguments: str, text: bytes = b"") -> str:
        """What the script prints; ``text`` is its input."""
        command = [*self._client, "exec", "-i", self._name, "sh", "-euc", script, "sh", *arguments]
        done = subprocess.run(command, input=text, capture_output=True)
        said = done.stdout.decode(errors="replace")
        assert done.returncode == 0, said + done.stderr.decode(errors="replace")
        return said

    def remove(self) -> None:
        """Stop it and take it away."""
        subprocess.run([*self._client, "rm", "-f", self._name], check=False, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a site's CA, ``ca.crt``, and a certificate of it for 127.0.0.1, ``server.pem``."""
    folder = tmp_path_factory.mktemp("authority")
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=A site of tests", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    subprocess.run(
        [*request, *name, "-keyout", "ca.key", "-out", "ca.crt"], cwd=folder, check=True, capture_output=True
    )
    issued = ["-CA", "ca.crt", "-CAkey", "ca.key", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    issued += ["-addext", "basicConstraints=critical,CA:FALSE"]
    files = ["-keyout", "server.key", "-out", "server.crt"]
    subprocess.run([*request, *issued, *files], cwd=folder, check=True, capture_output=True)
    (folder / "server.pem").write_bytes((folder / "server.crt").read_bytes() + (folder / "server.key").read_bytes())
    return folder


@pytest.fixture(scope="module", params=MINORS)
def container(
    request: pytest.FixtureRequest,
    forge: Forge,
    registry: str,
    docker_host: str,
    authority: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Container]:
    release = request.param
    folder = tmp_path_factory.mktemp(release)
    (folder / "cog.yaml").write_text(CONFIG.format(minor=MINORS[release], packages=PACKAGES))
    (folder / "run.py").write_text("def run(name: str) -> str:\n    return name\n")
    reference = f"{registry}/system/{release}:v1"
    forge.ok(
        "build",
        folder,
        "--push",
        "-t",
        reference,
        environment={"COG_CA_CERT": str(authority / "ca.crt")},
        timeout=1500,
    )
    running = Container(docker_host, reference, release)
    yield running
    running.remove()


CLIP = (
    "ffmpeg -v error -y -f lavfi -i testsrc=d=1:s=160x120:r=10 -f lavfi -i sine=d=1 -c:v libx264 -c:a aac /tmp/clip.mp4"
)


def test_ffmpeg_transcodes_a_clip(container: Container) -> None:
    container.sh(f"{CLIP}; ffmpeg -v error -y -i /tmp/clip.mp4 -c:v libvpx -c:a libopus /tmp/clip.webm")
    shown = container.sh("ffprobe -v error -show_entries stream=codec_name,width -of csv=p=0 /tmp/clip.webm")
    assert shown.split() == ["vp8,160", "opus"]


def test_git_clones_a_repository(container: Container) -> None:
    script = """
        rm -rf /tmp/from /tmp/to; git init -q /tmp/from; cd /tmp/from; echo word > file; git add file
        git -c user.name=a -c user.email=a@example.org commit -qm first; git clone -q file:///tmp/from /tmp/to
        cat /tmp/to/file"""
    assert container.sh(script) == "word\n"


def test_tesseract_reads_what_imagemagick_wrote(container: Container) -> None:
    script = """
        convert -background white -fill black -font DejaVu-Sans -pointsize 64 label:LAYER \
            -bordercolor white -border 40 /tmp/word.png
        tesseract /tmp/word.png - 2>/dev/null"""
    assert container.sh(script).strip() == "LAYER"


def test_opencv_decodes_pictures_and_films(container: Container) -> None:
    program = """
import cv2, numpy
picture = numpy.full((40, 60, 3), 200, numpy.uint8)
assert cv2.imdecode(cv2.imencode(".png", picture)[1], cv2.IMREAD_COLOR).shape == (40, 60, 3)
film = cv2.VideoCapture("/tmp/clip.mp4")
good, frame = film.read()
assert good and frame.shape == (120, 160, 3)
print(cv2.__version__)"""
    assert container.sh(f'{CLIP}; python -c "$1"', program).startswith("4.")


def test_espeak_speaks(container: Container) -> None:
    program = "import wave; print(wave.open('/tmp/said.wav').getnframes())"
    assert int(container.sh('espeak-ng -w /tmp/said.wav "one two"; python -c "$1"', program)) > 5000


def test_fonts_and_scalable_pictures(container: Container) -> None:
    assert "DejaVu Sans" in container.sh("fc-list")
    assert "DejaVuSans.ttf" in container.sh("fc-match sans-serif")
    picture = (
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9" fill="red"/></svg>'
    )
    size = container.sh(
        "cat > /tmp/p.svg; gdk-pixbuf-thumbnailer -s 32 /tmp/p.svg /tmp/p.png; identify -format '%w %m' /tmp/p.png",
        text=picture,
    )
    assert size == "32 PNG"


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"trusted")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def https(authority: Path) -> Iterator[str]:
    """A server on loopback whose certificate the site's CA has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem")
    with HTTPServer(("127.0.0.1", 0), _Answer) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_the_authority_of_the_site_is_trusted(container: Container, https: str) -> None:
    program = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"
    assert container.sh('python -c "$1" "$2"', program, https) == "trusted\n"
    bare = 'env -u SSL_CERT_FILE -u REQUESTS_CA_BUNDLE python -c "$1" "$2"'
    assert container.sh(bare, program, https) == "trusted\n"
    assert "Verify return code: 0" in container.sh(
        'echo | openssl s_client -connect "${1#https://}" 2>&1 || true', https.rstrip("/")
    )
    assert container.sh('git ls-remote "$1" 2>&1 || true', https).count("certificate") == 0


def test_dpkg_finds_nothing_wrong(container: Container) -> None:
    assert container.sh("dpkg -l | grep -c ^ii").strip() == container.sh("ls /var/lib/dpkg/info/*.list | wc -l").strip()
    assert container.sh("dpkg --audit") == ""
    dropped = ("/usr/share/doc/", "/usr/share/man/", "/usr/share/info/", "/usr/share/locale/", "/usr/share/lintian/")
    changed = container.sh("dpkg --verify || true").splitlines()
    assert [line for line in changed if not any(folder in line for folder in dropped)] == []


def test_apt_installs_on_top(container: Container) -> None:
    mirrors = find_mirrors()
    require(all(map(mirrors.urls.get, ("debian", "debian-security"))), "this machine has no Debian mirrors configured")
    suites = ((container.release, "debian"), (f"{container.release}-security", "debian-security"))
    keyring = "/etc/apt/keyrings/tests.gpg"
    lines = "".join(f"deb [signed-by={keyring}] {mirrors.of(archive)[0]} {suite} main\n" for suite, archive in suites)
    container.sh(f"mkdir -p /etc/apt/keyrings; cat > {keyring}", text=b"".join(mirrors.keys))
    container.sh("cat > /etc/apt/sources.list.d/tests.list", text=lines.encode())
    said = container.sh(
        "export DEBIAN_FRONTEND=noninteractive; apt-get -qq update 2>&1;"
        " apt-get install -y --no-install-recommends jq openssh-server 2>&1"
    )
    assert "Setting up jq" in said and "rror" not in said
    assert container.sh("""jq -n '[1, 2] | add'; dpkg --audit; id -un sshd""").split() == ["3", "sshd"]
