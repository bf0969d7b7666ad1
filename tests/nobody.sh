#!/bin/sh
# What root does not meet: the tests of files and of children once more, by a user who may not do everything.
#   tests/nobody.sh DIRECTORY      that of test_fs and test_process
# By nobody, with a strict umask; then test_process without standard input and output. It takes root and setpriv:
# skipped otherwise, with a line that says so (who is not root has run the suite that way anyway).
cd "$(dirname "$0")/.." || exit 1
skip() { echo "nobody: skipped, $1"; exit 0; }
[ "$(id -u)" = 0 ] || skip "this is not root, and so was make test"
command -v setpriv >/dev/null || skip "setpriv is missing (apt-get install util-linux)"
# In a place that everybody may enter, which the source tree need not be.
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
cp tests/run.sh "$1/test_fs" "$1/test_process" "$(command -v env)" "$dir/" || exit 1
chmod -R a+rX "$dir"
cd "$dir" || exit 1
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
as_nobody ./env true 2>why || skip "it cannot be had here: $(cat why)"
umask 077
as_nobody sh run.sh . test_fs test_process || { echo "FAILED by nobody"; exit 1; }
as_nobody timeout 60 ./test_process <&- >&- 2>out && exit
cat out
echo "FAILED: test_process without standard input and output"
exit 1
