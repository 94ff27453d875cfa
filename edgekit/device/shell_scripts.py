r"""What a device's own shell is asked to do where it has no Python: scripts for any POSIX shell (Android's mksh, BusyBox's ash, dash).

Each is run as ``sh -c SCRIPT edgekit MARK …``. MARK is a word of this visit between two record separators (``\036``): what follows
it up to the next separator is the script's own, everything else was printed by somebody else. They use what POSIX has, and ``flock``,
``setsid``, ``sha256sum``, which toybox (Android 7 and newer) and BusyBox have, where they are there.

A command that is put in the background would read ``/dev/null`` (POSIX, 2.9.3.1); so standard input is kept as descriptor 3.
"""

from __future__ import annotations

from edgekit.run.home import ANDROID

LOCK_FAULT = "cannot be opened"
"""What ends the refusal of a device whose lock is at fault."""

FILES = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/self/status",
    "/etc/os-release",
    "/etc/nv_tegra_release",
    "/sys/devices/system/cpu/present",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq",
    "/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count",
    "/sys/fs/cgroup/cpu.stat",
    "/sys/fs/cgroup/cpu.max",
    "/sys/class/thermal/thermal_zone*/type",
    "/sys/class/thermal/thermal_zone*/temp",
    "/sys/class/thermal/cooling_device*/type",
    "/sys/class/thermal/cooling_device*/cur_state",
    "/sys/devices/platform/soc/soc:firmware/get_throttled",
    "/sys/class/hwmon/hwmon*/name",
    "/sys/class/hwmon/hwmon*/*_input",
    "/sys/class/hwmon/hwmon*/*_label",
    "/sys/class/powercap/*/name",
    "/sys/class/powercap/*/energy_uj",
)
"""Files that tell what a device is and how it is, as a shell's patterns; of ``/proc/stat``, the first line besides."""

# MARK, path of benchmark_model or "", and whether that is to be hashed. Nothing is written. `grep -H ""` prints many files with one
# process: a phone has a hundred thermal zones.
INSPECT = rf"""
say() {{ printf '\036%s\036%s' "$1" "$2"; }}
say "$1" ''
say name "$(uname -n)"; say arch "$(uname -m)"; say kernel "$(uname -r)"; say uid "$(id -u)"; say emulated "${{QEMU_LD_PREFIX:-}}"
if command -v getprop >/dev/null 2>&1; then
  say maker "$(getprop ro.product.manufacturer)"; say product "$(getprop ro.product.model)"; say android "$(getprop ro.build.version.release)"
fi
say board "$(tr -d '\000' 2>/dev/null </proc/device-tree/model)"
folder=${{HOME:-/}}; if ! [ -w "$folder" ] && [ -w {ANDROID} ]; then folder={ANDROID}; fi
say disk "$(df -Pk "$folder" 2>/dev/null | tail -n 1)"
for one in "$2" "$(command -v benchmark_model 2>/dev/null)" {ANDROID}/benchmark_model; do
  if [ -f "$one" ] && ! [ -x "$one" ]; then say not_executable "$one"; fi
  if [ -f "$one" ] && [ -x "$one" ]; then say benchmark_model "$one"; break; fi
  if [ -n "$2" ]; then break; fi
done
say files ''
grep -Hs '' {" ".join(FILES)}
grep -Hs '^cpu ' /proc/stat
if [ -n "$3" ]; then say digest "$({{ sha256sum "$one" || cksum "$one"; }} 2>/dev/null)"; fi
say end ''
printf '\036%s\036seen\036' "$1" >&2
"""

# MARK, folder of the visit or "", what is read from standard input or "", command. Ends with it, and when standard input does: then
# the client is gone, or has had enough.
RUN = r"""
mark=$1 visit=$2 input=${3:-/dev/null}; shift 3
exec 3<&0
if ! command -v "$1" >/dev/null 2>&1; then printf '\036%s\036absent\036' "$mark" >&2; exit; fi
if command -v setsid >/dev/null 2>&1; then setsid "$@" <"$input" 3<&- & else "$@" <"$input" 3<&- & fi
child=$!
end() { kill -KILL "-$child" || kill -KILL "$child"; } 2>/dev/null
if [ -n "$visit" ]; then : >"$visit/running/$child"; fi
cat <&3 >/dev/null 2>&1 &  # adbd takes no end for one as long as anybody has this descriptor
ear=$!
(while kill -0 "$ear"; do sleep 1; done; end) </dev/null >/dev/null 2>&1 3<&- &
watch=$!
wait "$child" 2>/dev/null
status=$?
{ kill -KILL "$watch" "$ear"; wait "$watch" "$ear"; } 2>/dev/null
end
if [ -n "$visit" ]; then rm -f "$visit/running/$child"; fi
printf '\036%s\036%s\036' "$mark" "$status" >&2
"""

# MARK, token of the visit, holder as JSON without pid and time. Says `refused REASON`, `held JSON SILENT_S NOW`, or `taken FOLDER`, and then
# a beat every other second. The lock is that of edgekit.run.lease: the kernel's, so it is free as soon as this shell is gone. Where there
# is no `flock` (Debian's BusyBox), it is whose name stands in a folder beside it: one that has a name in it is not replaced by another
# (rename(2): ENOTEMPTY), and names of processes that are gone are taken out. A name is pid and time of start (proc_pid_stat(5), field 22),
# as a pid alone may be somebody else's by now. `mv` puts a folder into one that is there, so what stands there afterwards is looked at.
HOLD = rf"""
mark=$1 token=$2 holder=$3 mine=
umask 022
exec 3<&0
say() {{ printf '\036%s\036%s\036' "$mark" "$1"; }}
refuse() {{ say "refused $1"; exit; }}
home=${{HOME:-/}}
if [ -n "$EDGEKIT_DEPOT" ]; then root=$EDGEKIT_DEPOT/shell
elif ! [ -w "$home" ] && [ -w {ANDROID} ]; then root={ANDROID}/edgekit/shell
else root=${{XDG_CACHE_HOME:-$home/.cache}}/edgekit/shell; fi
lock=$EDGEKIT_LOCK
for one in /run/lock /tmp {ANDROID} "$home"; do
  if [ -z "$lock" ] && [ -w "$one" ]; then lock=$one/edgekit.lock; fi
done
if ! [ -e "$lock" ]; then (umask 0; : >"$lock") 2>/dev/null; fi
if ! [ -r "$lock" ]; then refuse "$lock: {LOCK_FAULT}"; fi
exec 9<"$lock"
other=$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' "$lock")
if [ "$other" = $$ ]; then other=; fi  # of one that is gone, whose number we have now
if [ -n "$other" ] && grep -q "$token" "/proc/$other/cmdline" 2>/dev/null; then  # this very visit's, which lost its client unawares
  kill -KILL "$other" && sleep 1
fi
started() {{ sed -n 's/.*) [^ZX] //p' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 19; }}  # neither zombie nor dead
take() {{
  mine=$$.$(started $$)
  for one in "$lock.d"/*; do
    pid=${{one%.*}}
    if [ "$(started "${{pid##*.}}")" != "${{one##*.}}" ]; then rm -rf "$one"; fi
  done
  rmdir "$lock.d" 2>/dev/null
  if ! mkdir -p "$lock.$mine/by.$mine" 2>/dev/null; then refuse "$lock.d: {LOCK_FAULT}"; fi
  mv "$lock.$mine" "$lock.d" 2>/dev/null
  if ! [ -d "$lock.d/by.$mine" ]; then rm -rf "$lock.$mine" "$lock.d/${{lock##*/}}.$mine"; return 1; fi
}}
if command -v flock >/dev/null 2>&1; then flock -n 9 9<&9; free=$?  # mksh keeps 9 to itself otherwise
elif [ -n "$other" ] && grep -q edgekit "/proc/$other/cmdline" 2>/dev/null; then free=1  # by Python: it has the kernel's
else take; free=$?; fi
if [ "$free" != 0 ]; then
  now=$(date +%s)
  say "held $(sed "s/$(printf '\036')//g" "$lock") $((now - $(stat -c %Y "$lock" 2>/dev/null || echo "$now"))) $now"
  exit
fi
release() {{
  (: >"$lock") 2>/dev/null
  if [ -n "$mine" ]; then rm -rf "$lock.d/by.$mine"; rmdir "$lock.d" 2>/dev/null; fi
}}
printf '%s, "pid": %s, "since": %s}}' "$holder" $$ "$(date +%s)" 2>/dev/null >"$lock"
visit=$root/visits/$token
end() {{
  for one in "$visit"/running/*; do
    pid=${{one##*/}}
    if [ -e "$one" ]; then kill -KILL "-$pid" || kill -KILL "$pid"; rm -f "$one"; fi
  done
}} 2>/dev/null
end
for one in "$root"/visits/*; do if [ "$one" != "$visit" ]; then rm -rf "$one"; fi; done
if ! wrong=$(mkdir -p "$root/pieces" "$visit/running" 2>&1); then release; refuse "$wrong"; fi
: >"$visit/heard"
cat <&3 >>"$visit/heard" 2>/dev/null 9<&- &
ear=$!
(
  silent=0 before=
  while [ $silent -lt 10 ]; do
    sleep 2 >/dev/null 2>&1
    now=$(wc -c <"$visit/heard")
    if [ "$now" = "$before" ]; then silent=$((silent + 1)); else silent=0; before=$now; touch "$lock" 2>/dev/null; fi
    say . || break
  done
  kill -KILL $ear
) 9<&- &
watch=$!
say "taken $visit"
wait $ear 2>/dev/null
{{ kill -KILL $watch; wait $watch; }} 2>/dev/null
end
if grep -q bye "$visit/heard" 2>/dev/null; then rm -rf "$root"; fi
release
say gone
"""

# MARK, root, and SHA-256 and size of each piece. Says for each how many bytes of it are here, and then how many KiB are free. What is
# whole was hashed anew; without a program that hashes, nothing is here.
OFFER = r"""
mark=$1 root=$2; shift 2
here=
while [ $# -gt 1 ]; do
  piece=$root/pieces/$1 bytes=0
  if [ -f "$piece" ]; then
    case $(sha256sum <"$piece" 2>/dev/null) in "$1"*) bytes=$2 ;; *) rm -f "$piece" ;; esac
  elif [ -f "$piece.part" ] && command -v sha256sum >/dev/null 2>&1; then bytes=$(($(wc -c <"$piece.part")))
    if [ $bytes -ge "$2" ]; then rm -f "$piece.part"; bytes=0; fi
  else rm -f "$piece.part"; fi
  here="$here $bytes"
  shift 2
done
printf '\036%s\036%s %s\036' "$mark" "$here" "$(df -Pk "$root" 2>/dev/null | tail -n 1 | { read -r _ _ _ free _; echo "$free"; })" >&2
"""

# MARK, piece, its SHA-256, its size: appends standard input. Says `whole`, `short` (the client is gone), `wrong`, or what the system says.
RECEIVE = r"""
mark=$1 piece=$2 sha=$3 size=$4
umask 022
say() { printf '\036%s\036%s\036' "$mark" "$1" >&2; }
if ! wrong=$( { cat >>"$piece.part"; } 2>&1); then say "failed $wrong"; exit; fi
bytes=$(($(wc -c <"$piece.part")))
if [ "$bytes" -lt "$size" ]; then say short; exit; fi
if command -v sha256sum >/dev/null 2>&1; then sum=$(sha256sum <"$piece.part"); else sum=$sha; fi
case $bytes,$sum in "$size,$sha"*) mv -f "$piece.part" "$piece" && say whole ;; *) rm -f "$piece.part"; say wrong ;; esac
"""

# MARK, root, and path, piece, mode of each file; a folder has an empty piece. Copies: Android forbids its shell to link.
PLACE = r"""
mark=$1 root=$2; shift 2
umask 022
fail() { printf '\036%s\036failed %s\036' "$mark" "$1" >&2; exit; }
while [ $# -gt 2 ]; do
  if [ -z "$2" ]; then wrong=$(mkdir -p "$1" 2>&1) || fail "$wrong"
  else
    if [ -d "$1" ]; then fail "$1: Is a directory"; fi  # into which mv would put it
    wrong=$( { mkdir -p "${1%/*}" && rm -f "$1.part" && cp "$root/pieces/$2" "$1.part" && chmod "$3" "$1.part" && mv -f "$1.part" "$1"; } 2>&1) \
      || fail "$wrong"
  fi
  shift 3
done
printf '\036%s\036placed\036' "$mark" >&2
"""

# MARK, path, offset: standard output is the rest of the file. Says its size and, where that can be had, its SHA-256.
SEND = r"""
mark=$1 path=$2 offset=$3
fail() { printf '\036%s\036failed %s\036' "$mark" "$1" >&2; exit; }
if [ -d "$path" ]; then fail "$path: Is a directory"; fi  # which a shell opens, too
if ! wrong=$( { : <"$path"; } 2>&1); then fail "$wrong"; fi
tail -c "+$((offset + 1))" "$path"
printf '\036%s\036%s %s\036' "$mark" "$(($(wc -c <"$path")))" "$(sha256sum <"$path" 2>/dev/null)" >&2
"""

# MARK, folder of the visit: a folder that nobody else uses.
FOLDER = r"""
mark=$1 visit=$2
umask 022
number=1
while ! mkdir "$visit/$number" 2>/dev/null; do
  if ! [ -d "$visit/$number" ]; then printf '\036%s\036failed %s\036' "$mark" "$(mkdir "$visit/$number" 2>&1)" >&2; exit; fi
  number=$((number + 1))
done
printf '\036%s\036%s\036' "$mark" "$visit/$number" >&2
"""
