// SPDX-License-Identifier: Apache-2.0
package main

import (
	"net"
	"regexp"
	"strings"
)

var (
	repositoryForm = regexp.MustCompile(`^[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*$`)
	registryForm   = regexp.MustCompile(`^[A-Za-z0-9.-]+(?::[0-9]{1,5})?$`)
	tagForm        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	digestForm     = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

const dockerHub = "docker.io"

type imageName struct {
	registry, repository, tag, digest string
}

// parseImageName reads a name as Docker does, where the first part is a registry only when it looks like a host. Of a name with tag and
// digest the digest counts. nil: it is none.
func parseImageName(text string) *imageName {
	name := &imageName{registry: dockerHub}
	rest, digest, pinned := strings.Cut(text, "@")
	if pinned && !digestForm.MatchString(digest) {
		return nil
	}
	name.digest = digest
	if first, more, several := strings.Cut(rest, "/"); several && (strings.ContainsAny(first, ".:") || first == "localhost") {
		name.registry, rest = first, more
	}
	if at := strings.LastIndex(rest, ":"); at >= 0 {
		name.tag, rest = rest[at+1:], rest[:at]
		if !tagForm.MatchString(name.tag) {
			return nil
		}
	}
	if name.registry == "index.docker.io" {
		name.registry = dockerHub
	}
	if name.registry == dockerHub && !strings.Contains(rest, "/") {
		rest = "library/" + rest
	}
	name.repository = rest
	if len(text) > 1024 || !registryForm.MatchString(name.registry) || !repositoryForm.MatchString(rest) {
		return nil
	}
	return name
}

// full is the name that podman takes for no other: with its registry, and with one of tag and digest.
func (n *imageName) full() string {
	switch {
	case n.digest != "":
		return n.base() + "@" + n.digest
	case n.tag != "":
		return n.base() + ":" + n.tag
	}
	return n.base() + ":latest"
}

func (n *imageName) base() string { return n.registry + "/" + n.repository }

// onDoor: a registry of the host's that is reached through this machine's own loopback, where nobody listens in.
func (n *imageName) onDoor(doors map[string]bool) bool {
	host, port, err := net.SplitHostPort(n.registry)
	return err == nil && (host == "127.0.0.1" || host == "localhost") && doors[port]
}

// registryOf is how the same registry is called in an image's name: clients also write an address of its API.
func registryOf(server string) string {
	server = strings.TrimPrefix(strings.TrimPrefix(server, "https://"), "http://")
	host, _, _ := strings.Cut(server, "/")
	if host == "index.docker.io" || host == "registry-1.docker.io" || host == "" {
		return dockerHub
	}
	return host
}
