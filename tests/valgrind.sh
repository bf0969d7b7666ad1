#!/bin/sh
# The quick suite under valgrind's memcheck: valgrind.sh [NAME...]
#
# An access to memory that is not there, a branch on a value that was never set, a leak of any kind but
# "still reachable" (the C library keeps some) fails the program. Left out: test_explore and model_*, which change
# stacks by hand; memcheck takes that for one wild stack. test_sim and test_programs run SEEDS=20
# instead of a thousand. A test may take ten minutes here (TEST_SLOW of harness.h, TEST_TIMEOUT of run.sh). valgrind 3.19 does not know
# epoll_pwait2, says so, and gives ENOSYS: crt goes on with epoll_wait.
#
# Tests that are not run here: those that lower RLIMIT_NOFILE and wait for EMFILE. valgrind has descriptors of its own
# at the end of that range, and says EBADF, or gives more than it should. And one that writes to address 8.
SKIP=" descriptors_run_out accept_waits_for_descriptors_without_spinning failures_of_the_system_leave_nothing_open starved \
no_descriptor_of_a_program_started_without_them a_fault_reaches_the_programs_handler "
cd "$(dirname "$0")/.." || exit 1
command -v valgrind >/dev/null || { echo "valgrind: it is missing (apt-get install valgrind)"; exit 0; }
B=${B:-.build}
names=${*:-$(ls tests/test_*.c | sed 's,.*/,,; s,\.c$,,' | grep -v '^test_explore$')}
mkdir -p "$B/valgrind"
B=$(cd "$B" && pwd)
# A program's own output stays apart from valgrind's, which is shown where it is about an error.
for name in $names; do
    cat >"$B/valgrind/$name" <<END
#!/bin/sh
TEST_SELF="$B/$name"; export TEST_SELF   # what a program starts as a child of itself runs without valgrind
valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=definite,indirect,possible \\
    --errors-for-leak-kinds=definite,indirect,possible --suppressions=tests/valgrind.supp --fair-sched=try \\
    --log-file="$B/valgrind/$name.%p.log" "$B/$name" "\$@"
code=\$?
[ \$code = 0 ] || grep -h '^==' "$B/valgrind/$name".*.log
rm -f "$B/valgrind/$name".*.log
exit \$code
END
    chmod +x "$B/valgrind/$name"
done
TEST_SKIP=$SKIP TEST_SLOW=1 SEEDS=${SEEDS:-20} TEST_TIMEOUT=${TEST_TIMEOUT:-600} exec sh tests/run.sh "$B/valgrind" $names
