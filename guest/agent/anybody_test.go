// SPDX-License-Identifier: Apache-2.0
package main

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
)

const twoUsers = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"

func askUser(t *testing.T, socket string, asked int32, key string) (head [9]int32, rest []byte) {
	t.Helper()
	connection, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	binary.Write(connection, binary.NativeEndian, [3]int32{nscdVersion, asked, int32(len(key) + 1)})
	connection.Write(append([]byte(key), 0))
	said, err := io.ReadAll(connection)
	if err != nil {
		t.Fatal(err)
	}
	if len(said) == 0 {
		return head, nil
	}
	if _, err := binary.Decode(said, binary.NativeEndian, &head); err != nil {
		t.Fatal(err)
	}
	return head, said[36:]
}

func TestEverybodyWhoCouldHaveANameIsRootAndTheOthersAreWhoTheyAre(t *testing.T) {
	folder := t.TempDir()
	passwd, socket := filepath.Join(folder, "passwd"), filepath.Join(folder, "nscd/socket")
	if err := os.WriteFile(passwd, []byte(twoUsers), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := serveAnybody(socket, accountsOf(passwd)); err != nil {
		t.Fatal(err)
	}
	root := "root\x00x\x00root\x00/root\x00/bin/bash\x00"
	for _, name := range []string{"root", "azureuser", "ada.lovelace-2"} {
		head, texts := askUser(t, socket, askByName, name)
		if head != [9]int32{2, 1, 5, 2, 0, 0, 5, 6, 10} || string(texts) != root {
			t.Fatalf("%s: %v %q", name, head, texts)
		}
	}
	if head, _ := askUser(t, socket, askByName, "nobody"); head[4] != 65534 {
		t.Fatalf("nobody: %v", head)
	}
	for _, name := range []string{"", "a b", "../x", "x\ny"} {
		if head, texts := askUser(t, socket, askByName, name); head[1] != 0 || len(texts) != 0 {
			t.Fatalf("%q: %v %q", name, head, texts)
		}
	}
	if head, _ := askUser(t, socket, askById, "0"); head[1] != 1 {
		t.Fatalf("0: %v", head)
	}
	if head, _ := askUser(t, socket, askById, "7"); head[1] != 0 {
		t.Fatalf("7: %v", head)
	}
	// Of groups, and of the memory that nscd would share, nothing is said.
	for _, asked := range []int32{2, 11, 15, 99} {
		if head, _ := askUser(t, socket, asked, "root"); head[0] != 0 {
			t.Fatalf("%d: %v", asked, head)
		}
	}
}
