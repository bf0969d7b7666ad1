// sys/socket.h - for the tests on Windows; see posix.h
#include "../posix.h"
