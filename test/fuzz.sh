#!/bin/sh
# Runs every fuzz target of the repository, one after the other, each for the
# time given: test/fuzz.sh 60s. The first failure ends it; the input that failed
# is kept under testdata/fuzz of its package.
set -eu
duration=${1:?say for how long to run each target, as in: test/fuzz.sh 60s}
go=${GO:-go}

# Names of targets come before the line "ok PACKAGE" of their package.
list=$($go test -list '^Fuzz' ./...)
targets=$(printf '%s\n' "$list" | awk '/^Fuzz/ { names[++n] = $1 } /^ok/ { for (; n > 0; n--) print $2, names[n] }')
test -n "$targets" || { echo "there are no fuzz targets" >&2; exit 1; }

printf '%s\n' "$targets" | while read -r package name; do
	echo "== $package $name"
	$go test "$package" -run '^$' -fuzz "^$name\$" -fuzztime "$duration" </dev/null
done
