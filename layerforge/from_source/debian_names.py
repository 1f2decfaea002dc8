"""Which package of Debian has a program, a header or a library that builds ask for.

The packages are in the main part of Debian 12 and 13 (``libgirepository-2.0-dev`` in 13 only).
"""

from __future__ import annotations

PROGRAMS = {
    "gcc": "build-essential", "cc": "build-essential", "g++": "build-essential", "c++": "build-essential",
    "x86_64-linux-gnu-gcc": "build-essential", "aarch64-linux-gnu-gcc": "build-essential",
    "x86_64-linux-gnu-g++": "build-essential", "aarch64-linux-gnu-g++": "build-essential",
    "make": "build-essential", "ld": "build-essential", "ar": "build-essential", "clang": "clang",
    "clang++": "clang", "gfortran": "gfortran", "cmake": "cmake", "ninja": "ninja-build",
    "pkg-config": "pkg-config", "pkgconf": "pkg-config", "git": "git", "swig": "swig", "autoconf": "autoconf",
    "autoreconf": "autoconf", "automake": "automake", "libtoolize": "libtool", "bison": "bison", "flex": "flex",
    "nasm": "nasm", "yasm": "yasm", "patch": "patch", "perl": "perl", "curl": "curl", "wget": "wget",
    "cargo": "cargo", "rustc": "rustc", "go": "golang-go", "node": "nodejs", "npm": "npm",
    "java": "default-jdk-headless", "protoc": "protobuf-compiler", "mysql_config": "default-libmysqlclient-dev",
    "pg_config": "libpq-dev", "xml2-config": "libxml2-dev", "xslt-config": "libxslt1-dev",
    "curl-config": "libcurl4-openssl-dev", "llvm-config": "llvm-dev", "mpicc": "libopenmpi-dev",
    "h5cc": "libhdf5-dev", "gdal-config": "libgdal-dev", "geos-config": "libgeos-dev", "krb5-config": "libkrb5-dev",
}  # fmt: skip
"""Programs by name."""

HEADERS = {
    "Python.h": "python3-dev", "pyconfig.h": "python3-dev", "stdio.h": "libc6-dev", "stdlib.h": "libc6-dev",
    "limits.h": "libc6-dev", "linux/types.h": "linux-libc-dev", "zlib.h": "zlib1g-dev", "bzlib.h": "libbz2-dev",
    "lzma.h": "liblzma-dev", "zstd.h": "libzstd-dev", "lz4.h": "liblz4-dev", "snappy-c.h": "libsnappy-dev",
    "snappy.h": "libsnappy-dev", "brotli/decode.h": "libbrotli-dev", "openssl/ssl.h": "libssl-dev",
    "openssl/evp.h": "libssl-dev", "openssl/opensslv.h": "libssl-dev", "ffi.h": "libffi-dev",
    "sqlite3.h": "libsqlite3-dev", "readline/readline.h": "libreadline-dev", "libxml/xmlversion.h": "libxml2-dev",
    "libxml/parser.h": "libxml2-dev", "libxslt/xslt.h": "libxslt1-dev", "yaml.h": "libyaml-dev",
    "expat.h": "libexpat1-dev", "curl/curl.h": "libcurl4-openssl-dev", "libpq-fe.h": "libpq-dev",
    "mysql.h": "default-libmysqlclient-dev", "sql.h": "unixodbc-dev", "jpeglib.h": "libjpeg-dev",
    "png.h": "libpng-dev", "tiff.h": "libtiff-dev", "tiffio.h": "libtiff-dev", "webp/decode.h": "libwebp-dev",
    "ft2build.h": "libfreetype-dev", "lcms2.h": "liblcms2-dev", "openjpeg.h": "libopenjp2-7-dev",
    "cairo.h": "libcairo2-dev", "pango/pango.h": "libpango1.0-dev",
    "gdk-pixbuf/gdk-pixbuf.h": "libgdk-pixbuf-2.0-dev", "glib.h": "libglib2.0-dev", "X11/Xlib.h": "libx11-dev",
    "GL/gl.h": "libgl-dev", "GL/glu.h": "libglu1-mesa-dev", "EGL/egl.h": "libegl-dev", "GLES2/gl2.h": "libgles-dev",
    "SDL2/SDL.h": "libsdl2-dev", "SDL.h": "libsdl2-dev", "libavcodec/avcodec.h": "libavcodec-dev",
    "libavformat/avformat.h": "libavformat-dev", "libavutil/avutil.h": "libavutil-dev",
    "libavdevice/avdevice.h": "libavdevice-dev", "libavfilter/avfilter.h": "libavfilter-dev",
    "libswscale/swscale.h": "libswscale-dev", "libswresample/swresample.h": "libswresample-dev",
    "sndfile.h": "libsndfile1-dev", "portaudio.h": "portaudio19-dev", "alsa/asoundlib.h": "libasound2-dev",
    "samplerate.h": "libsamplerate0-dev", "sox.h": "libsox-dev", "lame/lame.h": "libmp3lame-dev",
    "FLAC/all.h": "libflac-dev", "opus/opus.h": "libopus-dev", "opus.h": "libopus-dev", "ogg/ogg.h": "libogg-dev",
    "vorbis/codec.h": "libvorbis-dev", "rubberband/rubberband-c.h": "librubberband-dev",
    "espeak-ng/speak_lib.h": "libespeak-ng-dev", "fftw3.h": "libfftw3-dev", "cblas.h": "libopenblas-dev",
    "lapacke.h": "liblapacke-dev", "gsl/gsl_math.h": "libgsl-dev", "gmp.h": "libgmp-dev", "mpfr.h": "libmpfr-dev",
    "mpc.h": "libmpc-dev", "Eigen/Core": "libeigen3-dev", "Eigen/Dense": "libeigen3-dev",
    "boost/version.hpp": "libboost-dev", "hdf5.h": "libhdf5-dev", "netcdf.h": "libnetcdf-dev",
    "geos_c.h": "libgeos-dev", "gdal.h": "libgdal-dev", "proj.h": "libproj-dev",
    "spatialindex/capi/sidx_api.h": "libspatialindex-dev", "leptonica/allheaders.h": "libleptonica-dev",
    "tesseract/baseapi.h": "libtesseract-dev", "poppler/cpp/poppler-document.h": "libpoppler-cpp-dev",
    "opencv2/opencv.hpp": "libopencv-dev", "opencv2/core.hpp": "libopencv-dev",
    "graphviz/cgraph.h": "libgraphviz-dev", "magic.h": "libmagic-dev", "mecab.h": "libmecab-dev",
    "hunspell/hunspell.hxx": "libhunspell-dev", "enchant.h": "libenchant-2-dev", "zmq.h": "libzmq3-dev",
    "google/protobuf/message.h": "libprotobuf-dev", "event.h": "libevent-dev", "uv.h": "libuv1-dev",
    "leveldb/db.h": "libleveldb-dev", "rocksdb/c.h": "librocksdb-dev", "lmdb.h": "liblmdb-dev", "db.h": "libdb-dev",
    "gdbm.h": "libgdbm-dev", "ldap.h": "libldap-dev", "lber.h": "libldap-dev", "sasl/sasl.h": "libsasl2-dev",
    "krb5.h": "libkrb5-dev", "gssapi/gssapi.h": "libkrb5-dev", "sodium.h": "libsodium-dev", "numa.h": "libnuma-dev",
    "mpi.h": "libopenmpi-dev", "infiniband/verbs.h": "libibverbs-dev", "libusb.h": "libusb-1.0-0-dev",
    "usb.h": "libusb-dev", "pcap.h": "libpcap-dev", "systemd/sd-daemon.h": "libsystemd-dev",
    "bluetooth/bluetooth.h": "libbluetooth-dev", "uuid/uuid.h": "uuid-dev", "sys/capability.h": "libcap-dev",
    "attr/xattr.h": "libattr1-dev", "crypt.h": "libcrypt-dev", "re2/re2.h": "libre2-dev",
    "archive.h": "libarchive-dev", "raptor2/raptor.h": "libraptor2-dev",
    "CL/cl.h": "opencl-c-headers", "vulkan/vulkan.h": "libvulkan-dev",
}  # fmt: skip
"""Headers as they are included."""

LIBRARIES = {
    "z": "zlib1g-dev", "bz2": "libbz2-dev", "lzma": "liblzma-dev", "ssl": "libssl-dev", "crypto": "libssl-dev",
    "ffi": "libffi-dev", "libffi": "libffi-dev", "openblas": "libopenblas-dev", "blas": "libopenblas-dev",
    "lapack": "libopenblas-dev", "xml2": "libxml2-dev", "libxml-2.0": "libxml2-dev", "libxslt": "libxslt1-dev",
    "jpeg": "libjpeg-dev", "png": "libpng-dev", "libpng": "libpng-dev", "freetype": "libfreetype-dev",
    "freetype2": "libfreetype-dev", "cairo": "libcairo2-dev", "pango": "libpango1.0-dev",
    "glib-2.0": "libglib2.0-dev", "gobject-introspection-1.0": "libgirepository1.0-dev",
    "girepository-1.0": "libgirepository1.0-dev", "girepository-2.0": "libgirepository-2.0-dev",
    "dbus-1": "libdbus-1-dev", "icu-i18n": "libicu-dev", "icu-uc": "libicu-dev", "sqlite3": "libsqlite3-dev",
    "curl": "libcurl4-openssl-dev", "libcurl": "libcurl4-openssl-dev", "hdf5": "libhdf5-dev",
    "fftw3": "libfftw3-dev", "gsl": "libgsl-dev", "gmp": "libgmp-dev", "sndfile": "libsndfile1-dev",
    "portaudio-2.0": "portaudio19-dev", "portaudio": "portaudio19-dev", "asound": "libasound2-dev",
    "GL": "libgl-dev", "x11": "libx11-dev", "X11": "libx11-dev", "libavcodec": "libavcodec-dev",
    "libavformat": "libavformat-dev", "libavdevice": "libavdevice-dev", "libavfilter": "libavfilter-dev",
    "libavutil": "libavutil-dev", "libswscale": "libswscale-dev", "libswresample": "libswresample-dev",
    "opencv4": "libopencv-dev", "poppler-cpp": "libpoppler-cpp-dev", "tesseract": "libtesseract-dev",
    "lept": "libleptonica-dev", "systemd": "libsystemd-dev", "libsystemd": "libsystemd-dev", "libpq": "libpq-dev",
    "pq": "libpq-dev", "mysqlclient": "default-libmysqlclient-dev", "zmq": "libzmq3-dev", "libzmq": "libzmq3-dev",
    "protobuf": "libprotobuf-dev", "sentencepiece": "libsentencepiece-dev", "re2": "libre2-dev",
    "udev": "libudev-dev", "libudev": "libudev-dev",
}  # fmt: skip
"""Libraries by what the linker, pkg-config, Meson and CMake call them."""
