#!/usr/bin/env bash
# Leaves of the kernel's modules those that are named, with what they depend on: prune-modules.sh MODULES LIST...
#
# MODULES is /lib/modules/VERSION in the target, LIST a file with a module's name on each line, and comments. The root lies in
# memory: a module that nobody loads is a waste of it. A name that is neither a module nor built in ends the build; where an
# earlier run took it out, make linux-reinstall brings it back.
set -euo pipefail

if [ $# -lt 2 ]; then
  sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
modules=$1
shift

keep=$(awk '
  # A module is called a_b, its file may be called a-b.ko.
  function name(path) {
    sub(/.*\//, "", path)
    sub(/\.ko.*/, "", path)
    gsub(/-/, "_", path)
    return path
  }
  FILENAME ~ /\/modules\.dep$/ {
    path = $1
    sub(/:$/, "", path)
    file[name(path)] = path
    # modules.dep lists all that a module needs, directly or not.
    $1 = ""
    needs[name(path)] = $0
    next
  }
  FILENAME ~ /\/modules\.builtin$/ { builtin[name($1)] = 1; next }
  /^[[:space:]]*(#|$)/ { next }
  {
    wanted = name($1)
    if (wanted in builtin) next
    if (!(wanted in file)) {
      printf "%s:%d: the kernel has no module %s, nor is it built in\n", FILENAME, FNR, $1 >"/dev/stderr"
      faults++
      next
    }
    print file[wanted]
    count = split(needs[wanted], paths, " ")
    for (i = 1; i <= count; i++) print paths[i]
  }
  END { exit faults > 0 }
' "$modules/modules.dep" "$modules/modules.builtin" "$@")

kept=0
removed=0
while IFS= read -r path; do
  if grep -qxF "$path" <<<"$keep"; then
    kept=$((kept + 1))
  else
    rm "$modules/$path"
    removed=$((removed + 1))
  fi
done < <(cd "$modules" && find . -name '*.ko*' -printf '%P\n' | sort)
if [ -d "$modules/kernel" ]; then find "$modules/kernel" -mindepth 1 -type d -empty -delete; fi
echo "prune-modules: $kept kernel modules kept, $removed removed."
