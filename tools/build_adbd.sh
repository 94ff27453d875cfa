#!/bin/sh
# A real adbd for Linux from Debian's source package android-platform-tools (Apache-2.0), for the tests of adb:// devices.
#
#   tools/build_adbd.sh FOLDER    leaves FOLDER/adbd; does nothing if that is there
#
# Debian packages adb and no adbd, though its sources have one that builds for Linux. Takes 76 MB of sources, and about 80 seconds on two
# cores; wants apt-get (root, for the libraries' headers), g++, make and the network.
set -eu
out=$(mkdir -p "$1" && cd "$1" && pwd)
[ -x "$out/adbd" ] && exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends dpkg-dev g++ make android-libbase-dev android-libcutils-dev android-liblog-dev android-libboringssl-dev >/dev/null
work=$(mktemp -d)
chmod 755 "$work"  # apt downloads as a user of its own
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir -p lists/partial
sed 's/^Types: deb$/Types: deb-src/' /etc/apt/sources.list.d/debian.sources >sources.sources
apt_source() { apt-get -qq -o Dir::Etc::sourcelist="$work/sources.sources" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$work/lists" "$@"; }
apt_source update
apt_source source android-platform-tools >/dev/null 2>&1
cd android-platform-tools-*/
# GCC knows none of Clang's thread annotations.
mkdir -p shim/android-base
sed 's/^#define THREAD_ANNOTATION_ATTRIBUTE__(x).*/#define THREAD_ANNOTATION_ATTRIBUTE__(x)/' system/core/base/include/android-base/thread_annotations.h \
  >shim/android-base/thread_annotations.h
# As an adbd of Android's own developers, whose ro.adb.secure is not set: it asks for no key.
sed -i 's/^bool auth_required = true;/bool auth_required = false;/' system/core/adb/daemon/auth.cpp
# The header that declares this one defines what Linux's own headers define, too.
cat >shim/fs_config.h <<'HEADER'
#include <stdint.h>
extern "C" void fs_config(const char* path, int dir, const char* out, unsigned* uid, unsigned* gid, unsigned* mode, uint64_t* capabilities);
HEADER
cat >adbd.mk <<'MAKE'
ADB = adb.cpp adb_io.cpp adb_listeners.cpp adb_trace.cpp adb_unique_fd.cpp adb_utils.cpp fdevent/fdevent.cpp fdevent/fdevent_epoll.cpp \
  fdevent/fdevent_poll.cpp services.cpp sockets.cpp socket_spec.cpp sysdeps/errno.cpp transport.cpp transport_fd.cpp transport_local.cpp \
  transport_usb.cpp types.cpp sysdeps_unix.cpp sysdeps/posix/network.cpp daemon/auth.cpp daemon/jdwp_service.cpp daemon/usb_dummy.cpp \
  daemon/file_sync_service.cpp daemon/services.cpp daemon/shell_service.cpp shell_service_protocol.cpp daemon/main.cpp \
  adbconnection/adbconnection_server.cpp
SOURCES = $(addprefix system/core/adb/,$(ADB)) system/core/diagnose_usb/diagnose_usb.cpp system/core/libasyncio/AsyncIO.cpp \
  frameworks/native/libs/adbd_auth/adbd_auth.cpp
OBJECTS = $(SOURCES:.cpp=.o) system/core/libcrypto_utils/android_pubkey.o
FLAGS = -O1 -w -D_GNU_SOURCE -DADB_HOST=0 -DADB_VERSION='"29.0.6"' -DPLATFORM_TOOLS_VERSION='"29.0.6"' -Ishim \
  -Isystem/core/adb -Isystem/core/adb/daemon/include -Isystem/core/adb/adbconnection/include -Isystem/core/base/include \
  -Isystem/core/include -Isystem/core/diagnose_usb/include -Isystem/core/libasyncio/include -Isystem/core/libcrypto_utils/include \
  -Isystem/core/libcutils/include -Iframeworks/native/libs/adbd_auth/include -I/usr/include/android
LIBS = /usr/lib/$(shell gcc -print-multiarch)/android
adbd: $(OBJECTS)
	g++ -o $@ $^ -L$(LIBS) -Wl,-rpath=$(LIBS) -lbase -lcutils -llog -lcrypto -lpthread -lresolv -lutil
%.o: %.cpp
	g++ -std=gnu++2a -include atomic -include optional -include shim/fs_config.h -c -o $@ $< $(FLAGS)
%.o: %.c
	gcc -c -o $@ $< $(FLAGS)
MAKE
make -s -f adbd.mk -j"$(nproc)" adbd
cp adbd "$out/adbd.part"
mv "$out/adbd.part" "$out/adbd"
