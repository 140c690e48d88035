package h1_test

func serveBenchmark() bool { return false }
