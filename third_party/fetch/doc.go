// Command fetch brings everything that Hearth does not write itself onto this
// machine and builds the native libraries from it:
//
//	go run ./third_party/fetch COMMAND
//
//	prerequisites  check the compiler and Python (--install: install what lacks)
//	source         fetch and unpack the llama.cpp source
//	model          fetch the default model and print its path
//	tool-model     fetch a model that calls tools by itself and print its path
//	window-model   fetch the tests' model with a sliding window and print its path
//	embedding-model
//	               fetch the embedding model, make its GGUF file, print its path
//	rank-model     make the tests' model that scores documents, print its path
//	tools          find CMake and Ninja, or fetch them, and print their paths
//	native         compile llama.cpp and the shim into build/out/lib
//	sanitized      compile the same with sanitizers into build/out/asan
//	yardsticks     compile llama-server and the benches into build/out/yardsticks
//	cuda           compile the CUDA backend into build/out/lib
//	venv           make the Python environment of the tests and print its python
//	chroma         fetch the vector store that tests call, print its folder
//	mysql          fetch a MySQL server with its libraries, print its folder
//	searxng        make a Python environment with SearXNG and print its python
//	llamaindex     make a Python environment with LlamaIndex and print its python
//	npm            fetch the Node.js packages of the tests and print their folder
//
// What is fetched is named, with version and sha256, in third_party/pins.json
// (tests/requirements.txt, tests/searxng and tests/llamaindex for the Python
// environments, tests/npm for Node.js); nothing else is, but for what Debian's
// package manager brings (prerequisites, mysql). A file becomes visible
// under its name only after its checksum was found right.
//
// Everything lands in a cache outside the checkout, $XDG_CACHE_HOME/hearth
// (~/.cache/hearth where that is unset), shared by all checkouts:
//
//	downloads/      the files as fetched, under their pinned names
//	src/            unpacked sources
//	tools/          unpacked build tools and the CUDA toolkit
//	native/KEY/     one native build; KEY hashes pin, flags and compiler
//	models/         model files
//	chroma/         the vector store that tests call, one folder for each version
//	mysql/          MySQL servers, one folder for each version
//	venv/KEY/       one Python environment; KEY hashes requirements and python
//	npm/KEY/        Node.js and its packages; KEY hashes tests/npm and processor
//	locks/          one lock file for each thing that one process may make
//
// Where HEARTH_THIRD_PARTY_DIR names a folder, files are taken from there and
// the network is never used; the downloads folder of another machine serves.
// Otherwise they come through the pip and the npm of this machine, hence with the
// index, credentials, proxy and certificates that are configured for them.
//
// The program runs before any native library exists, so it imports none of
// Hearth's other packages. It is a single goroutine but for the reading of a
// child's output; two processes are kept apart by locks on files.
package main
