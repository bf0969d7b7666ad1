// nothing: all of it is in tests/kqueue_shim/bsd.h
