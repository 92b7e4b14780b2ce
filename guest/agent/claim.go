// SPDX-License-Identifier: Apache-2.0
package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

const (
	entropyBytesMin = 32
	entropyBytesMax = 4096
	keysMax         = 64
	// From linux/random.h.
	addEntropy = 0x40085203
	reseed     = 0x5207
)

var (
	claimIdForm  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	hostnameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

type claimArgs struct {
	ClaimId        string       `json:"claimId"`
	Entropy        string       `json:"entropy"`
	TimeMs         int64        `json:"timeMs"`
	Manifest       string       `json:"manifest"`
	AuthorizedKeys []string     `json:"authorizedKeys"`
	Hostname       string       `json:"hostname"`
	Network        *networkArgs `json:"network"`
}

// claimState: none yet (nil), under way or failed (no answer), done (an answer). It only moves forward.
type claimState struct {
	id     string
	answer map[string]any
	server *sshServer
}

func (c *claimState) done() bool { return c != nil && c.answer != nil }

// take makes this machine one that no other copy of the same snapshot is. The order is that of docs/guest-protocol.md: what is
// made from random bytes comes after the entropy.
func (a *agent) take(given claimArgs) (map[string]any, error) {
	if a.claim.done() && a.claim.id == given.ClaimId {
		return a.claim.answer, nil
	}
	if a.claim != nil {
		return nil, refusal{"already-claimed", "this machine was claimed before"}
	}
	entropy, manifest, network, err := given.check()
	if err != nil {
		return nil, err
	}
	if hash := sha256.Sum256(manifest); hex.EncodeToString(hash[:]) != a.launchHash {
		return nil, refusal{"launch-mismatch", "the manifest is not the one on the measured command line"}
	}
	a.claim = &claimState{id: given.ClaimId}
	if err := creditEntropy(entropy); err != nil {
		return nil, fmt.Errorf("entropy: %w", err)
	}
	now := syscall.NsecToTimeval(given.TimeMs * int64(time.Millisecond))
	if err := syscall.Settimeofday(&now); err != nil {
		return nil, fmt.Errorf("clock: %w", err)
	}
	a.bootId = randomHex()
	if given.Hostname != "" {
		if err := syscall.Sethostname([]byte(given.Hostname)); err != nil {
			return nil, fmt.Errorf("hostname: %w", err)
		}
	}
	if network != nil {
		if err := network.apply(); err != nil {
			return nil, fmt.Errorf("network: %w", err)
		}
	}
	keys := []string{}
	if len(given.AuthorizedKeys) > 0 {
		if a.claim.server, err = startSsh(a.processes, given.AuthorizedKeys); err != nil {
			return nil, fmt.Errorf("ssh: %w", err)
		}
		keys = a.claim.server.hostKeys
	}
	a.claim.answer = map[string]any{"claimId": given.ClaimId, "sshHostKeys": keys}
	return a.claim.answer, nil
}

func (given claimArgs) check() (entropy, manifest []byte, network *network, err error) {
	wrong := func(words string) error { return refusal{"malformed", words} }
	if !claimIdForm.MatchString(given.ClaimId) {
		err = wrong("claimId is 1 to 64 letters, digits, - and _")
	} else if entropy, err = base64.StdEncoding.DecodeString(given.Entropy); err != nil ||
		len(entropy) < entropyBytesMin || len(entropy) > entropyBytesMax {
		err = wrong("entropy is base64 of 32 to 4096 bytes")
	} else if manifest, err = base64.StdEncoding.DecodeString(given.Manifest); err != nil {
		err = wrong("manifest is base64")
	} else if given.TimeMs < 1_600_000_000_000 || given.TimeMs > 7_000_000_000_000 {
		err = wrong("timeMs is Unix time in milliseconds")
	} else if given.Hostname != "" && !hostnameForm.MatchString(given.Hostname) {
		err = wrong("hostname is one label of a name")
	} else if len(given.AuthorizedKeys) > keysMax {
		err = wrong("there are 64 authorized keys at most")
	} else if given.Network != nil {
		network, err = given.Network.parse()
	}
	for _, key := range given.AuthorizedKeys {
		if err == nil && (strings.ContainsAny(key, "\n\r\x00") || !strings.Contains(key, " ")) {
			err = wrong("an authorized key is one line of authorized_keys")
		}
	}
	return entropy, manifest, network, err
}

// creditEntropy: writing to /dev/urandom alone would not reseed the generator that copies of a snapshot share.
func creditEntropy(bytes []byte) error {
	device, err := os.OpenFile("/dev/urandom", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer device.Close()
	pool := make([]byte, 8+len(bytes))
	binary.LittleEndian.PutUint32(pool[0:], uint32(8*len(bytes)))
	binary.LittleEndian.PutUint32(pool[4:], uint32(len(bytes)))
	copy(pool[8:], bytes)
	if _, _, code := syscall.Syscall(syscall.SYS_IOCTL, device.Fd(), addEntropy, uintptr(unsafe.Pointer(&pool[0]))); code != 0 {
		return code
	}
	if _, _, code := syscall.Syscall(syscall.SYS_IOCTL, device.Fd(), reseed, 0); code != 0 {
		return code
	}
	return nil
}
