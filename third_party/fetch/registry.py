"""Write one file of a registry package to standard output, as it is.

usage: python3 registry.py PACKAGE VERSION FILE

A header line of JSON, {"bytes": N} (0 where unknown), comes first, then the
file. Messages go to standard error. pip's own session and finder are used, so
the index, credentials, proxy and certificates are those configured for pip, and
so that a source archive is fetched without running its build backend, which
"pip download" would do.

Exit status 3: this pip has other internals; 4: the index has no such file.
"""

import json
import os
import sys

package, version, filename = sys.argv[1:4]
out = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # whatever pip prints must not mix with the file

try:
    from pip._internal.commands import create_command

    command = create_command("download")
    options, _ = command.parse_args(["--no-deps", "x"])
    context = command.main_context()
    build_session, build_finder = command._build_session, command._build_package_finder
except (ImportError, AttributeError, TypeError) as err:
    print("pip: %s" % err, file=sys.stderr)
    sys.exit(3)

with context:
    try:
        session = build_session(options)
        candidates = build_finder(options=options, session=session).find_all_candidates(package)
        links = [c.link for c in candidates if str(c.version) == version]
    except (AttributeError, TypeError) as err:
        print("pip: %s" % err, file=sys.stderr)
        sys.exit(3)
    links = [link for link in links if link.filename == filename]
    if not links:
        sys.exit(4)
    url = links[0].url.split("#", 1)[0]
    if url.startswith("file:"):
        with open(links[0].file_path, "rb") as source:
            out.write(json.dumps({"bytes": os.fstat(source.fileno()).st_size}).encode() + b"\n")
            for block in iter(lambda: source.read(1 << 20), b""):
                out.write(block)
    else:
        response = session.get(url, headers={"Accept-Encoding": "identity"}, stream=True)
        response.raise_for_status()
        size = int(response.headers.get("Content-Length") or 0)
        out.write(json.dumps({"bytes": size}).encode() + b"\n")
        for block in response.iter_content(1 << 18):
            out.write(block)
    out.flush()
