module crt/bench/go

go 1.19
