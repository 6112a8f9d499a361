#!/usr/bin/env bash
# Checks that a Kconfig configuration is what its fragments ask for: check-fragments.sh CONFIG FRAGMENT...
#
# Kconfig drops an option whose dependencies are not met, or whose name does not exist, without an error. Every line of the
# fragments is compared with the result; where two fragments name the same option, the later one counts. Exits 1 after naming
# each option that did not take.
set -euo pipefail

if [ $# -lt 2 ]; then
  sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
config=$1
shift

awk '
  function option(line) {
    sub(/^# /, "", line)
    sub(/[= ].*/, "", line)
    return line
  }
  # Lines that neither set nor unset an option are comments.
  !/^CONFIG_[A-Za-z0-9_]+=/ && !/^# CONFIG_[A-Za-z0-9_]+ is not set$/ { next }
  FILENAME == ARGV[1] { has[option($0)] = $0; next }
  {
    name = option($0)
    if (!(name in wanted)) order[++count] = name
    wanted[name] = $0
    where[name] = FILENAME ":" FNR
  }
  END {
    if (!count) { print "check-fragments: the fragments name no option"; exit 1 }
    for (i = 1; i <= count; i++) {
      name = order[i]
      # An option that the configuration does not even mention is off.
      got = name in has ? has[name] : "# " name " is not set"
      if (got == wanted[name]) continue
      printf "%s: %s did not take: the configuration has %s\n", where[name], wanted[name], got
      faults++
    }
    if (faults) { printf "check-fragments: %d of %d options did not take in %s\n", faults, count, ARGV[1]; exit 1 }
    printf "check-fragments: all %d options took.\n", count
  }
' "$config" "$@" || { echo "A name may be wrong, or a dependency missing: see its Kconfig entry." >&2; exit 1; }
