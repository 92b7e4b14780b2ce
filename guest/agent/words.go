// SPDX-License-Identifier: Apache-2.0
package main

import (
	"encoding/base64"
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Words that go to the host, which is not to learn what was sealed. What podman or compose print when they fail may well be the
// password that they failed with.
//
//	A. A secret is known by its first 32 bytes. What begins like a longer one is taken out to the end of its line.
//	B. Of a workload with more secrets than a person would write no words are let out at all.
//	C. Of many words only the last lines; a cut inside a line would leave the end of a secret whose beginning is gone.
//	D. It is known also as programs write it: without what is not printed, as Go quotes it, in base64 from its beginning.
const (
	secretBytesMin   = 6
	secretKeyBytes   = 32
	secretsMax       = 20_000
	secretFileMax    = 8192
	wordsBytesMax    = 2048
	detailBytesMax   = 300
	takenOut         = "***"
	wordsLinesShown  = 3
	wordsOfNothing   = "it said nothing"
	wordsTooManyKeys = "its words are not shown: too much in them could be secret"
)

type redactor struct {
	// Longest first, so that what begins another is not taken for it.
	keys []string
	// And those of accounts at registries, which often are a part of an image's name that everyone may read.
	accounts []string
	// B
	silent bool
}

func newRedactor(secrets *workloadSecrets) *redactor {
	seen := map[string]bool{}
	key := func(text string) {
		if text = strings.TrimSpace(text); len(text) >= secretBytesMin && len(seen) <= secretsMax {
			seen[text[:min(len(text), secretKeyBytes)]] = true
		}
	}
	// D
	add := func(value string) {
		if len(value) >= secretBytesMin {
			// Of as many bytes as the key has room for.
			key(base64.RawStdEncoding.EncodeToString([]byte(value[:min(len(value), secretKeyBytes/4*3)])))
		}
		for _, line := range strings.Split(value, "\n") {
			key(line)
			key(printable(line))
			quoted := strconv.Quote(strings.TrimSpace(line))
			key(quoted[1 : len(quoted)-1])
		}
	}
	for _, value := range secrets.env {
		add(value)
	}
	for _, login := range secrets.logins {
		add(*login.Password)
		// As a registry is sent both.
		add(*login.Username + ":" + *login.Password)
	}
	for _, content := range secrets.files {
		if len(content) <= secretFileMax {
			add(string(content))
		}
	}
	made := &redactor{silent: len(seen) > secretsMax}
	made.keys = longestFirst(seen)
	clear(seen)
	for _, login := range secrets.logins {
		add(*login.Username)
	}
	made.accounts = longestFirst(seen)
	return made
}

func longestFirst(seen map[string]bool) []string {
	keys := []string{}
	for key := range seen {
		keys = append(keys, key)
	}
	sort.Slice(keys, func(a, b int) bool { return len(keys[a]) > len(keys[b]) })
	return keys
}

// public answers the last that a program said, without secrets, in one line.
func (r *redactor) public(said string) string {
	if r.silent {
		return wordsTooManyKeys
	}
	lines := []string{}
	for _, line := range strings.Split(lastBytes(said), "\n") {
		for _, keys := range [][]string{r.keys, r.accounts} {
			line = without(keys, printable(without(keys, line)))
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return wordsOfNothing
	}
	return shortened(strings.Join(lines[max(0, len(lines)-wordsLinesShown):], "; "))
}

func without(keys []string, line string) string {
	for _, key := range keys {
		if len(key) == secretKeyBytes {
			if at := strings.Index(line, key); at >= 0 {
				line = line[:at] + takenOut
			}
		} else {
			line = strings.ReplaceAll(line, key, takenOut)
		}
	}
	return line
}

// shown answers whether a text has nothing of a secret in it.
func (r *redactor) shown(text string) bool { return !r.silent && without(r.keys, text) == text }

// C
func lastBytes(text string) string {
	if len(text) <= wordsBytesMax {
		return text
	}
	text = text[len(text)-wordsBytesMax:]
	_, rest, _ := strings.Cut(text, "\n")
	return rest
}

func printable(text string) string {
	return strings.TrimSpace(strings.Map(func(each rune) rune {
		switch {
		case each == '\t':
			return ' '
		case each == utf8.RuneError || !unicode.IsPrint(each):
			return -1
		}
		return each
	}, text))
}

func shortened(text string) string {
	if len(text) <= detailBytesMax {
		return text
	}
	text = text[:detailBytesMax]
	for !utf8.ValidString(text) {
		text = text[:len(text)-1]
	}
	return text
}
