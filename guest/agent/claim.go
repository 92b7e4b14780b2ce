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
	endorsersMax    = 8
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
	Doors          []int        `json:"doors"`
	Endorsers      []string     `json:"endorsers"`
}

// claimState: none yet (nil), under way or failed (no answer), done (an answer). It only moves forward.
type claimState struct {
	id     string
	answer map[string]any
	server *sshServer
	launch *launch
	doors  []int
	// Of this boot; made after the entropy came in.
	keys     *identity
	attester *attester
	// From the first certificate on.
	front *frontProcess
}

// launch is what this machine was started to run, held against the measured command line.
type launch struct {
	sha256   [32]byte
	bytes    []byte
	manifest *launchManifest
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
	launch, err := a.readLaunch(manifest)
	if err != nil {
		return nil, err
	}
	a.claim = &claimState{id: given.ClaimId, launch: launch, doors: given.Doors}
	if err := a.places.settle(given, entropy, network); err != nil {
		return nil, err
	}
	a.bootId = randomHex()
	if network != nil {
		if err := openDoors(given.Doors, network.gateway); err != nil {
			return nil, fmt.Errorf("doors: %w", err)
		}
	}
	if a.claim.keys, err = makeIdentity(launch.manifest.Domains); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	a.claim.attester = a.places.attester(a.claim.keys, given.Endorsers)
	hostKeys := []string{}
	if len(given.AuthorizedKeys) > 0 {
		if a.claim.server, err = startSsh(a.processes, sshInMemory, given.AuthorizedKeys); err != nil {
			return nil, fmt.Errorf("ssh: %w", err)
		}
		hostKeys = a.claim.server.hostKeys
	}
	a.claim.answer = map[string]any{"claimId": given.ClaimId, "sshHostKeys": hostKeys, "keys": a.claim.keys.said()}
	return a.claim.answer, nil
}

// settle gives the machine what is its own: the generator's state, the time, a name, an address.
func settle(given claimArgs, entropy []byte, network *network) error {
	mountConfigfs()
	if err := creditEntropy(entropy); err != nil {
		return fmt.Errorf("entropy: %w", err)
	}
	now := syscall.NsecToTimeval(given.TimeMs * int64(time.Millisecond))
	if err := syscall.Settimeofday(&now); err != nil {
		return fmt.Errorf("clock: %w", err)
	}
	if given.Hostname != "" {
		if err := syscall.Sethostname([]byte(given.Hostname)); err != nil {
			return fmt.Errorf("hostname: %w", err)
		}
	}
	if network != nil {
		if err := network.apply(); err != nil {
			return fmt.Errorf("network: %w", err)
		}
	}
	return nil
}

func (a *agent) readLaunch(manifest []byte) (*launch, error) {
	hash := sha256.Sum256(manifest)
	if hex.EncodeToString(hash[:]) != a.launchHash {
		return nil, refusal{"launch-mismatch", "the manifest is not the one on the measured command line"}
	}
	parsed, err := parseManifest(manifest)
	if err != nil {
		return nil, err
	}
	return &launch{sha256: hash, bytes: manifest, manifest: parsed}, nil
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
	} else if len(given.Doors) > doorsMax || len(given.Doors) > 0 && given.Network == nil {
		err = wrong("there are 8 doors at most, and none without a network")
	} else if len(given.Endorsers) > endorsersMax {
		err = wrong("there are 8 endorsers at most")
	} else if given.Network != nil {
		network, err = given.Network.parse()
	}
	for _, key := range given.AuthorizedKeys {
		if err == nil && (strings.ContainsAny(key, "\n\r\x00") || !strings.Contains(key, " ")) {
			err = wrong("an authorized key is one line of authorized_keys")
		}
	}
	for _, port := range given.Doors {
		if err == nil && (port < 1 || port > 65535) {
			err = wrong("a door is a port")
		}
	}
	for _, each := range given.Endorsers {
		if der, coded := base64.StdEncoding.DecodeString(each); err == nil && (coded != nil || len(der) > certificateBytesMax) {
			err = wrong("an endorser is a certificate in base64")
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
