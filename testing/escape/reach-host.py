# SPDX-License-Identifier: Apache-2.0
"""Tries the host's sockets: a TCP port on loopback, an abstract unix socket, a unix socket by path."""
import socket
import sys

port, abstract, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
for name, family, address in (
    ("tcp", socket.AF_INET, ("127.0.0.1", port)),
    ("abstract", socket.AF_UNIX, "\0" + abstract),
    ("path", socket.AF_UNIX, path),
):
    try:
        with socket.socket(family, socket.SOCK_STREAM) as s:
            s.settimeout(2)
            s.connect(address)
            print("REACHED", name)
    except OSError as error:
        print("refused", name, error.errno)
