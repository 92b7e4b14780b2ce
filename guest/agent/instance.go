// SPDX-License-Identifier: Apache-2.0
package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
)

// instance is a machine that somebody logs in to. Who that is comes sealed, after the machine has shown what it is: the host, which
// carries the box, cannot let in itself.
type instance struct {
	processes *processes
	attester  *attester
	// Makes these the keys that are let in from now on.
	authorize func(keys []string) error
	// Of the launch manifest.
	agent string

	mutex  sync.Mutex
	phase  string
	detail string
	server *sshServer
	// By which somebody was let in last; nil before that.
	claimed *instanceSecrets
}

// instanceSecrets is what the sealed box of an instance holds; equal in TypeScript: guest/protocol.ts.
type instanceSecrets struct {
	V             int    `json:"v"`
	Kind          string `json:"kind"`
	MachineId     string `json:"machineId"`
	Incarnation   int64  `json:"incarnation"`
	Hostname      string `json:"hostname"`
	AuthorizedKey string `json:"authorizedKey"`
	// Grows with each key that its owner gives it. Absent: 0.
	KeyNumber int64 `json:"keyNumber"`
	// Absent where there are no models to ask.
	Inference *inferenceAccess `json:"inference"`
	// Where there is a state disk, and nowhere else: 64 bytes in base64.
	StateKey string `json:"stateKey"`
}

// inferenceAccess is how programs of the instance ask models.
type inferenceAccess struct {
	BaseUrl string `json:"baseUrl"`
	Token   string `json:"token"`
	Model   string `json:"model"`
}

const (
	hostnameBytesMax = 253
	keyBytesMax      = 8192
	// Shells and service managers read it; it is gone with the machine.
	inferenceFile = "/run/casemate/inference.env"
)

// No quote, no space and no end of line: each of them stands in a line of a file that shells read.
var (
	baseUrlForm = regexp.MustCompile(`^https?://[A-Za-z0-9.:\[\]-]{1,260}(/[A-Za-z0-9._~-]+)*$`)
	tokenForm   = regexp.MustCompile(`^[A-Za-z0-9._~+/=:-]{8,512}$`)
	modelForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$`)
)

var keyForm = regexp.MustCompile(`^(ssh-ed25519|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]+={0,2}( .{0,256})?$`)

func parseInstanceSecrets(plain []byte, stateDisk bool) (*instanceSecrets, error) {
	refused := func(words string) error { return refusal{"secrets-refused", words} }
	var given instanceSecrets
	names := []string{"v", "kind", "machineId", "incarnation", "hostname", "authorizedKey"}
	if has(plain, "inference") {
		names = append(names, "inference")
	}
	if has(plain, "keyNumber") {
		names = append(names, "keyNumber")
	}
	if stateDisk {
		names = append(names, "stateKey")
	}
	if err := readExactly(plain, &given, names...); err != nil {
		return nil, refused("the box has not exactly an instance's members")
	}
	if given.V != 1 || given.Kind != "instance" || !machineIdForm.MatchString(given.MachineId) {
		return nil, refused("the box is not an instance's")
	}
	if len(given.Hostname) > hostnameBytesMax || !domainForm.MatchString(given.Hostname) {
		return nil, refused("the name is none")
	}
	// One key and nothing before it: options of a line could run commands.
	key := given.AuthorizedKey
	if strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r == 0x7f }) || len(key) > keyBytesMax || !keyForm.MatchString(key) {
		return nil, refused("the key is not one line of type, key and comment")
	}
	if i := given.Inference; i != nil && (!baseUrlForm.MatchString(i.BaseUrl) || !tokenForm.MatchString(i.Token) || !modelForm.MatchString(i.Model)) {
		return nil, refused("the way to models is none")
	}
	if key, err := base64.StdEncoding.DecodeString(given.StateKey); err != nil || stateDisk && len(key) != stateKeyBytes {
		return nil, refused("the state key is base64 of 64 bytes")
	}
	return &given, nil
}

// has looks only: what the text is worth is judged by who reads it.
func has(text []byte, name string) bool {
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) != nil {
		return false
	}
	_, found := members[name]
	return found
}

// writeInference leaves the file to root alone, who everybody is that logs in; a service reads it before it gives up its rights.
func writeInference(path string, access *inferenceAccess) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	lines := fmt.Sprintf("OPENAI_BASE_URL='%s'\nOPENAI_API_KEY='%s'\nOPENAI_MODEL='%s'\n", access.BaseUrl, access.Token, access.Model)
	return os.WriteFile(path, []byte(lines), 0o600)
}

// begin answers at once; status says when one can log in. disk: nil where there is none.
func (i *instance) begin(secrets *instanceSecrets, disk *stateDisk) {
	i.say("starting", "making the machine ready to log in")
	goGuarded("instance", func() {
		err := guarded("instance", func() error { return i.live(secrets, disk) })
		i.mutex.Lock()
		defer i.mutex.Unlock()
		i.phase, i.detail = "failed", shortened(printable(err.Error()))
	})
}

// live answers when nobody can log in any more, with the reason.
func (i *instance) live(secrets *instanceSecrets, disk *stateDisk) error {
	place := sshInMemory
	if disk != nil {
		key, _ := base64.StdEncoding.DecodeString(secrets.StateKey)
		if err := disk.open(i.processes, key); err != nil {
			return fmt.Errorf("the state disk: %w", err)
		}
		if err := enterInstanceRoot(); err != nil {
			return fmt.Errorf("the root on the state disk: %w", err)
		}
		place = sshPlace{keysFolder: hostKeysFolder, root: instanceRoot}
	}
	label, _, _ := strings.Cut(secrets.Hostname, ".")
	if err := syscall.Sethostname([]byte(label)); err != nil {
		return fmt.Errorf("the name: %w", err)
	}
	if inContainer {
		if err := dropContainerRights(); err != nil {
			return fmt.Errorf("rights: %w", err)
		}
	}
	if err := serveAnybody(anybodySocket, accountsOf("/etc/passwd")); err != nil {
		return fmt.Errorf("names of users: %w", err)
	}
	if disk != nil {
		if err := serveInside(); err != nil {
			return fmt.Errorf("names of users inside: %w", err)
		}
	}
	if secrets.Inference != nil {
		if err := writeInference(inferenceFile, secrets.Inference); err != nil {
			return fmt.Errorf("the way to models: %w", err)
		}
	}
	server, err := startSsh(i.processes, place, []string{secrets.AuthorizedKey})
	if err != nil {
		return fmt.Errorf("ssh: %w", err)
	}
	i.mutex.Lock()
	i.server = server
	i.mutex.Unlock()
	keys := []string{}
	for _, line := range server.hostKeys {
		words := strings.Fields(line)
		keys = append(keys, words[0]+" "+words[1])
	}
	i.mutex.Lock()
	i.attester.login.Store(&login{keys, secrets.Hostname, secrets.AuthorizedKey})
	i.mutex.Unlock()
	if err := i.beginAgent(place.root, secrets.Inference); err != nil {
		return fmt.Errorf("agent setup failed: %w", err)
	}
	i.mutex.Lock()
	i.claimed = secrets
	i.phase, i.detail = "running", "one can log in"
	i.mutex.Unlock()
	<-server.ended
	server.over.Store(true)
	return fmt.Errorf("the SSH server has ended")
}

// claimAnew lets in another key from now on, and the one before no more; who is logged in stays. The host carries the boxes, and could bring
// an older one again, with a key that its owner has taken away: so numbers only grow. Evidence says the new key when the server knows it.
func (i *instance) claimAnew(given *instanceSecrets) error {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	refused := func(words string) error { return refusal{"secrets-refused", words} }
	known := i.claimed
	if known == nil || i.phase != "running" {
		return refusal{"failed", "nobody can log in yet"}
	}
	if given.MachineId != known.MachineId || given.Incarnation != known.Incarnation || given.Hostname != known.Hostname {
		return refused("the box is another start's")
	}
	if given.KeyNumber < known.KeyNumber || given.KeyNumber == known.KeyNumber && given.AuthorizedKey != known.AuthorizedKey {
		return refused("the box has an older key than the machine")
	}
	if err := i.authorize([]string{given.AuthorizedKey}); err != nil {
		return fmt.Errorf("who may log in: %w", err)
	}
	before := i.attester.login.Load()
	i.attester.login.Store(&login{before.hostKeys, given.Hostname, given.AuthorizedKey})
	i.claimed = given
	return nil
}

// beginAgent answers when it is well: an instance is there when what it is for is.
func (i *instance) beginAgent(root string, models *inferenceAccess) error {
	packaged, err := readPackaged(packagedFile, i.agent)
	if err != nil || packaged == nil {
		return err
	}
	i.say("starting", "waiting for the agent "+packaged.Name)
	packaged.root = root
	if err := packaged.prepare(models); err != nil {
		return err
	}
	return packaged.keep(i.processes)
}

func (i *instance) say(phase, detail string) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	i.phase, i.detail = phase, detail
}

func (i *instance) sshState() string {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return i.server.state()
}

func (i *instance) status() instanceStatus {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	keys := []string{}
	if i.server != nil {
		keys = i.server.hostKeys
	}
	return instanceStatus{
		statusAnswer: statusAnswer{i.phase, i.detail, i.phase == "running", []resolvedImage{}},
		SshHostKeys:  keys,
	}
}

type instanceStatus struct {
	statusAnswer
	SshHostKeys []string `json:"sshHostKeys"`
}
