# crt: build, run, prove. `make help` lists the targets.
CC      ?= cc
CFLAGS  ?= -O2 -g
# Half of the quick suite's time is the compiler's, and few of its programs wait for their own code. Flags given to
# make hold for all.
TEST_LEVEL  = -O0
TEST_CFLAGS = $(if $(filter file,$(origin CFLAGS)),$(TEST_LEVEL) -g,$(CFLAGS)) $(SANITIZE)
STD      = -std=c11
WARN     = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wimplicit-fallthrough -Wstrict-prototypes -Wundef
LIBS     = -pthread
B       ?= .build
# Build in parallel; the tests themselves run one by one, but for one that mostly waits.
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif
HEADERS  = crt.h crt_platform_epoll.h crt_platform_kqueue.h crt_platform_iocp.h
TESTS    = $(sort $(patsubst tests/%.c,%,$(wildcard tests/test_*.c tests/model_*.c)))
EXAMPLES = $(sort $(patsubst examples/%.c,%,$(wildcard examples/*.c)))

.PHONY: all help run test nobody examples load stress connections soak proof mutate models apps redis-bench fuzz-redis sim programs fuzz kqueue macos wine bare cross size scale bench bench-quick bench-check lint sanitize asan tsan msan valgrind stall coverage analyze warnings clean

all: examples

help:
	@echo "make run          build and start examples/http_server on 127.0.0.1:8080"
	@echo "make test         build and run the quick suite (no root, loopback only)"
	@echo "make nobody       the tests of files and children by the user nobody (needs root and setpriv)"
	@echo "make examples     build every example into $(B)/"
	@echo "make sanitize     the suite under ASan+UBSan, then under TSan (make asan, make tsan: one of them)"
	@echo "make msan         the suite under MemorySanitizer (needs clang and its runtime)"
	@echo "make valgrind     the suite under memcheck, leaks too (needs valgrind)"
	@echo "make stall        the suite while its threads are stopped anywhere for up to a tenth of a second (ROUNDS=1)"
	@echo "make coverage     lines and branches that the suite runs; what it does not, with the reason (needs clang)"
	@echo "make analyze      gcc -fanalyzer, clang-tidy, cppcheck: no finding without an answer"
	@echo "make load         10,000 echo connections; wrk and Ctrl-C on the HTTP server (needs wrk)"
	@echo "make stress       each primitive and streams at random under TSan for SECONDS (60), four workers"
	@echo "make connections  19,000 connections in one process, 100,000 in several (20,000 descriptors each)"
	@echo "make soak         servers and toolkit under mixed load, restarts and aborts for MINUTES (30): everything flat"
	@echo "make models       the models at greater depth: MODEL_DEPTH=3, MODEL_BUDGET=60 seconds for each program"
	@echo "make mutate       each memory order of crt.h relaxed in turn: the models must notice (SECONDS=2 for each)"
	@echo "make proof        all of it, budgeted and seeded, with a scorecard at the end (BUDGET=1; 0.1 is a quick look)"
	@echo "make apps         the larger examples, driven by curl, nc and redis-cli (what is missing is skipped)"
	@echo "make redis-bench  mini_redis beside redis-server under redis-benchmark"
	@echo "make fuzz-redis   random bytes against mini_redis under ASan+UBSan: SECONDS=60"
	@echo "make sim          a cluster in a simulated kernel, SEEDS=10000 of them, and planted mistakes"
	@echo "make programs     random programs of the whole API, SEEDS=10000 of them, and planted mistakes"
	@echo "make fuzz         libFuzzer, SECONDS=60 for each TARGET (all)"
	@echo "make kqueue       the suite over crt_platform_kqueue.h, on a kqueue made of epoll (QUICK=1: once, no sanitizers)"
	@echo "make macos        everything compiled and linked for macOS (needs zig)"
	@echo "make wine         what runs on Windows, built by mingw-w64, run under wine (QUICK=1: the platform header)"
	@echo "make bare         no threads: the suite of one thread, and a Cortex-M3 in qemu (needs gcc-arm-none-eabi, qemu-system-arm)"
	@echo "make cross        other compilers, C libraries, processors and systems (QUICK=1, ONLY=\"musl s390x\")"
	@echo "make size         bytes and seconds of the implementation"
	@echo "make warnings     both halves of crt.h with every warning flag: gcc, clang, C++17"
	@echo "make lint         the two compiler checks that find locals lost over an await"
	@echo "make bench        crt beside Tokio, Go, libuv, Boost.Asio and bare epoll: table, targets, plots (ROUNDS=3)"
	@echo "make bench-quick  what matters most of it, in two minutes"
	@echo "make bench-check  instructions and system calls per operation against bench/baseline (UPDATE=1 renews it)"
	@echo "make scale        8 to 128 simulated cores: which cache lines they fight over (takes long)"
	@echo "make clean        removes $(B)/"
	@echo "CC=clang make ... another compiler; B=dir another build directory"

$(B)/%: examples/%.c $(HEADERS)
	@mkdir -p $(B)
	$(CC) $(STD) $(CFLAGS) $(WARN) -I. $< -o $@ $(LIBS)

TEST_WARN = -D_GNU_SOURCE -Wall -Wextra -Wshadow -Wno-missing-field-initializers
$(B)/test_explore $(B)/test_sim $(B)/test_syscalls $(B)/test_scheduler: TEST_LEVEL = -O1
# These take in other programs whole.
$(B)/test_corpus: $(wildcard tests/fuzz_*.c)
$(B)/test_corpus_http: tests/fuzz_http.c examples/http_server.c
$(B)/test_corpus_redis: tests/fuzz_redis.c examples/mini_redis.c
$(B)/test_%: tests/test_%.c $(HEADERS) $(wildcard tests/*.h)
	@mkdir -p $(B)
	$(CC) $(STD) $(TEST_CFLAGS) $(TEST_WARN) -I. -Itests $< -o $@ $(LIBS)

# In some models macros stand for the system's calls: what was handed to those goes unused.
MODEL_WARN = -Wno-unused-parameter -Wno-unused-variable
$(B)/model_%: tests/model_%.c $(HEADERS) $(wildcard tests/*.h)
	@mkdir -p $(B)
	$(CC) $(STD) $(TEST_CFLAGS) $(TEST_WARN) $(MODEL_WARN) -I. -Itests $< -o $@ $(LIBS)

$(B)/%: tests/%.c $(HEADERS) $(wildcard tests/*.h)
	@mkdir -p $(B)
	$(CC) $(STD) $(CFLAGS) $(TEST_WARN) -I. -Itests $< -o $@ $(LIBS)

examples: $(EXAMPLES:%=$(B)/%)

run: $(B)/http_server
	$(B)/http_server

# One line for each program; the last line adds them up.
test: $(TESTS:%=$(B)/%)
	@sh tests/run.sh $(B) $(TESTS)
# What of it root is spared: by a user who may not do everything.
nobody: $(B)/test_fs $(B)/test_process
	@sh tests/nobody.sh $(B)

# The explorer switches stacks in ways that sanitizers cannot follow.
PLAIN = $(filter-out test_explore model_%,$(TESTS))
asan:
	$(MAKE) test B=$(B)/asan TESTS="$(PLAIN)" SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=all"
# test_syscalls shares its bookkeeping with threads that have ended and with children. The simulation has one thread: a
# hundred seeds, also of random programs (make programs has more).
tsan:
	SEEDS=$${SEEDS:-100} $(MAKE) test B=$(B)/tsan TESTS="$(filter-out test_syscalls,$(PLAIN))" SANITIZE="-fsanitize=thread"
sanitize:
	$(MAKE) asan
	$(MAKE) tsan
# It needs every access instrumented: the C library's are intercepted, raw system calls are told by crt itself.
msan:
	@command -v clang >/dev/null || { echo "msan: clang is missing (apt-get install clang libclang-rt-14-dev)"; exit 0; }; \
	TEST_SLOW=1 TEST_TIMEOUT=600 SEEDS=100 $(MAKE) test CC=clang B=$(B)/msan TESTS="$(PLAIN)" SANITIZE="-fsanitize=memory"
valgrind: $(patsubst %,$(B)/%,$(filter test_%,$(PLAIN)))
	B=$(B) sh tests/valgrind.sh
# ROUNDS=5 SEED=1: the seeds of the stalls.
stall: $(PLAIN:%=$(B)/%)
	@sh tests/stall.sh $(B) $(PLAIN)
coverage:
	B=$(B) sh tests/coverage.sh
analyze:
	sh tests/analyze.sh

# 10,000 echo connections without a lost byte; wrk on the HTTP server; Ctrl-C under load.
load: $(B)/echo_server $(B)/http_server
	B=$(B) sh tests/load.sh
	B=$(B) sh tests/http_load.sh

# Every primitive at random under TSan, one after the other, and streams: make stress SECONDS=5 PRIMITIVE=mutex (io)
SECONDS   ?= 60
PRIMITIVE ?= all
SEED      ?= 1
stress:
	$(MAKE) $(B)/tsan/stress_sync $(B)/tsan/stress_io B=$(B)/tsan CFLAGS="-O1 -g -fsanitize=thread"
	case $(PRIMITIVE) in io) ;; *) $(B)/tsan/stress_sync $(PRIMITIVE) $(SECONDS) 4 ;; esac
	case $(PRIMITIVE) in io|all) $(B)/tsan/stress_io $(SECONDS) 4 $(SEED) ;; esac

# 19,000 connections in one process, then 100,000 over several that share a port.
connections:
	B=$(B) sh tests/connections.sh 19000
	B=$(B) sh tests/connections.sh 100000

# Servers and toolkit under mixed load: make soak MINUTES=2. The curves go to $(B)/soak.svg.
MINUTES ?= 30
soak: examples $(B)/soak
	$(B)/soak $(MINUTES) $(B) $(B)/soak.tsv; code=$$?; awk -F'\t' -f tests/soak.awk $(B)/soak.tsv >$(B)/soak.svg; exit $$code
# The models: all schedules with two preemptions, whatever it takes (a model that needs more than MODEL_WHOLE seconds
# fails); then deeper than in make test, for MODEL_BUDGET seconds a program. Each order of crt.h taken away.
MODEL_DEPTH  ?= 3
MODEL_BUDGET ?= 60
MODEL_WHOLE  ?= 600
MODELS = $(filter model_%,$(TESTS))
models:
	$(MAKE) $(MODELS:%=$(B)/models/%) B=$(B)/models TEST_LEVEL=-O1
	MODEL_WHOLE=$(MODEL_WHOLE) DETAILS=1 TEST_TIMEOUT=100000 sh tests/run.sh $(B)/models $(MODELS)
	MODEL_DEPTH=$(MODEL_DEPTH) MODEL_BUDGET=$(MODEL_BUDGET) DETAILS=1 TEST_TIMEOUT=100000 sh tests/run.sh $(B)/models $(MODELS)
mutate:
	B=$(B) sh tests/mutate_orders.sh $(if $(filter command environment,$(origin SECONDS)),$(SECONDS),2)
# Everything, and a table of what was measured: make proof BUDGET=0.1
BUDGET ?= 1
proof:
	B=$(B) sh tests/proof.sh $(BUDGET)

# The larger examples driven by curl, nc and redis-cli; mini_redis beside a real Redis.
apps:
	B=$(B) sh tests/apps.sh
	B=$(B) sh tests/mini_redis.sh
redis-bench:
	B=$(B) sh tests/mini_redis.sh bench
# Random bytes against mini_redis for so many seconds: parser, then sockets.
fuzz-redis:
	B=$(B) sh tests/fuzz_redis.sh $(SECONDS)

# A cluster in a simulated kernel, then the proof that it can fail: make sim SEEDS=100000
SEEDS ?= 10000
sim:
	B=$(B) sh tests/sim.sh $(SEEDS)
# Random programs, then the proof that they can fail: make programs SEEDS=100000
programs:
	B=$(B) sh tests/programs.sh $(SEEDS)
# libFuzzer, so many seconds for each target: make fuzz SECONDS=10 TARGET=wheel
TARGET ?= all
fuzz:
	B=$(B) sh tests/fuzz.sh $(TARGET) $(SECONDS)

# The suite over crt_platform_kqueue.h, on a kqueue made of epoll; a build for macOS (needs zig).
kqueue:
	@QUICK="$(QUICK)" B=$(B)/kqueue sh tests/kqueue.sh
macos:
	sh tests/macos.sh
# The tests and examples that Windows can have, built by mingw-w64, run under wine.
wine:
	sh tests/wine.sh
# CRT_NO_THREADS: what of the suite needs no thread; examples/cortex_m in qemu.
bare:
	B=$(B) sh tests/bare.sh
# A row for each compiler, C library, processor and system that is there.
cross:
	@ONLY="$(ONLY)" QUICK="$(QUICK)" B=$(B) sh tests/cross.sh

warnings:
	sh tests/warnings.sh
size:
	CC=$(CC) sh tests/size.sh

# A local that is set before an await and read after it is lost. Two compilers see
# most of it: clang by its flow analysis, gcc because the switch jumps over the
# initialisation.
LINT_FILES ?= $(wildcard examples/*.c)
lint:
	@command -v clang >/dev/null || { echo "lint: clang is missing (apt-get install clang)"; exit 0; }; \
	for f in $(LINT_FILES); do clang $(STD) -fsyntax-only -Wconditional-uninitialized -Wsometimes-uninitialized -Werror -I. $$f || exit 1; done
	@for f in $(LINT_FILES); do gcc $(STD) -fsyntax-only -Wjump-misses-init -Werror -I. $$f || exit 1; done
	@echo "lint: $(words $(LINT_FILES)) files, nothing found"

bench:
	sh bench/run.sh
bench-quick:
	sh bench/run.sh quick
# Counts, which do not wobble: fails if an operation needs 3 % more of them than bench/baseline says.
bench-check:
	@sh bench/check.sh

# crt's own code on 8 to 128 simulated cores; plain accesses are seen through the hooks of
# the thread sanitizer, which is not linked. make scale ARGS="mpsc_all w=64 top=12"
scale:
	@mkdir -p $(B)
	$(CC) $(STD) -O2 -D_GNU_SOURCE -U_FORTIFY_SOURCE -w -fsanitize=thread -I. -Ibench -c bench/scale.c -o $(B)/scale.o
	$(CC) $(B)/scale.o -o $(B)/scale
	$(B)/scale $(ARGS)

clean:
	rm -rf $(B)
