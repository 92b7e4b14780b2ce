// SPDX-License-Identifier: Apache-2.0
package main

import (
	"fmt"
	"strconv"
	"strings"
)

// The block size of root and tree, of both.
const blockBytes = 4096

// A root of more is none of ours; less than 2^53 by far.
const rootBlocksMax = 1 << 24

type commandLine struct {
	rootHash   string
	rootBlocks uint64
	launchHash string
}

// parseCommandLine reads the three words that are ours. A second one of a kind is refused: of two hashes a verifier
// could read the one and we the other.
func parseCommandLine(text string) (commandLine, error) {
	words := map[string]string{}
	for _, word := range strings.Fields(text) {
		name, value, _ := strings.Cut(word, "=")
		if !strings.HasPrefix(strings.Trim(name, `"`), "casemate.") {
			continue
		}
		switch name {
		case "casemate.root", "casemate.blocks", "casemate.launch":
		default:
			return commandLine{}, fmt.Errorf("the command line says %.40q, which is not known", name)
		}
		if _, twice := words[name]; twice {
			return commandLine{}, fmt.Errorf("the command line says %s twice", name)
		}
		words[name] = value
	}
	for _, name := range []string{"casemate.root", "casemate.launch"} {
		if !isHash(words[name]) {
			return commandLine{}, fmt.Errorf("the command line has no %s=<SHA-256>", name)
		}
	}
	blocks, err := strconv.ParseUint(words["casemate.blocks"], 10, 64)
	if err != nil || blocks == 0 || blocks > rootBlocksMax || strconv.FormatUint(blocks, 10) != words["casemate.blocks"] {
		return commandLine{}, fmt.Errorf("the command line has no casemate.blocks=<number>")
	}
	return commandLine{words["casemate.root"], blocks, words["casemate.launch"]}, nil
}

func isHash(text string) bool {
	if len(text) != 64 {
		return false
	}
	for _, each := range text {
		if !strings.ContainsRune("0123456789abcdef", each) {
			return false
		}
	}
	return true
}
