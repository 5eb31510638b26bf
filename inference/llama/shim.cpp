//go:build ignore
extern "C" int hearth_placeholder() { return 0; }
