// SPDX-License-Identifier: Apache-2.0
package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"path"
	"regexp"
	"strings"
)

const (
	envMax        = 10_000
	registriesMax = 64
)

var (
	machineIdForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	envNameForm   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,255}$`)
	fileNameForm  = regexp.MustCompile(`^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$`)
)

type registryLogin struct {
	Server   *string `json:"server"`
	Username *string `json:"username"`
	Password *string `json:"password"`
}

// guestSecrets is what the sealed box holds; equal in TypeScript: guest/protocol.ts.
type guestSecrets struct {
	V           int               `json:"v"`
	MachineId   *string           `json:"machineId"`
	Incarnation *int64            `json:"incarnation"`
	Compose     *string           `json:"compose"`
	Env         map[string]string `json:"env"`
	Files       map[string]string `json:"files"`
	Registries  []registryLogin   `json:"registries"`
	StateKey    *string           `json:"stateKey"`
	SealedEnv   *string           `json:"sealedEnv"`
}

// workloadSecrets is the same, read and judged.
type workloadSecrets struct {
	machineId   string
	incarnation int64
	compose     string
	env         map[string]string
	files       map[string][]byte
	logins      map[string]registryLogin
	stateKey    []byte
}

// parseSecrets holds what was sealed against what was measured: who sealed it decides the values, never what runs.
// openEnv opens the box that the owner of the variables sealed by himself.
func parseSecrets(plain []byte, manifest *launchManifest, openEnv func(box []byte) ([]byte, error)) (*workloadSecrets, error) {
	refused := func(words string) (*workloadSecrets, error) { return nil, refusal{"secrets-refused", words} }
	var given guestSecrets
	if err := readStrictly(plain, &given); err != nil {
		return refused("the box is no JSON of this version")
	}
	if given.V != 1 || given.MachineId == nil || !machineIdForm.MatchString(*given.MachineId) || given.Incarnation == nil ||
		*given.Incarnation < 0 || given.Compose == nil || given.Env == nil || given.Files == nil || given.Registries == nil {
		return refused("a member is missing")
	}
	secrets := &workloadSecrets{
		machineId: *given.MachineId, incarnation: *given.Incarnation, compose: *given.Compose,
		env: given.Env, files: map[string][]byte{}, logins: map[string]registryLogin{},
	}
	if hashOf([]byte(secrets.compose)) != manifest.Compose {
		return refused("the compose file is not the one that was measured")
	}
	if err := secrets.takeFiles(given.Files, manifest.Files); err != nil {
		return nil, err
	}
	if given.SealedEnv != nil {
		if err := secrets.overlayEnv(*given.SealedEnv, openEnv); err != nil {
			return nil, err
		}
	}
	if len(secrets.env) > envMax {
		return refused("there are too many variables")
	}
	for name, value := range secrets.env {
		if !envNameForm.MatchString(name) || strings.ContainsRune(value, 0) {
			return refused("a variable has a name or a value that is not possible")
		}
	}
	if len(given.Registries) > registriesMax {
		return refused("there are too many registries")
	}
	for _, login := range given.Registries {
		if login.Server == nil || login.Username == nil || login.Password == nil {
			return refused("a login of a registry lacks a member")
		}
		secrets.logins[registryOf(*login.Server)] = login
	}
	if given.StateKey != nil {
		key, err := base64.StdEncoding.DecodeString(*given.StateKey)
		if err != nil || len(key) != stateKeyBytes {
			return refused("the state key is base64 of 64 bytes")
		}
		secrets.stateKey = key
	}
	if manifest.StateDisk != (secrets.stateKey != nil) {
		return refused("a state key is given where there is a state disk, and nowhere else")
	}
	return secrets, nil
}

func (s *workloadSecrets) takeFiles(given, measured map[string]string) error {
	differ := refusal{"secrets-refused", "the files are not those that were measured"}
	if len(given) != len(measured) {
		return differ
	}
	for name, text := range given {
		content, err := decodeFile(text)
		if err != nil {
			return refusal{"secrets-refused", "a file is not base64"}
		}
		if hash, known := measured[name]; !known || hashOf(content) != hash {
			return differ
		}
		if !fileNameForm.MatchString(name) || path.Clean(name) != name || strings.HasPrefix(name, "../") || name == ".." || name == "." {
			return refusal{"secrets-refused", "a file has a name that is not possible"}
		}
		s.files[name] = content
	}
	return nil
}

func (s *workloadSecrets) overlayEnv(text string, openEnv func([]byte) ([]byte, error)) error {
	box, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return refusal{"secrets-refused", "the owner's box of variables is not base64"}
	}
	plain, err := openEnv(box)
	if err != nil {
		return err
	}
	defer clear(plain)
	var own map[string]string
	if err := json.Unmarshal(plain, &own); err != nil || own == nil {
		return refusal{"secrets-refused", "the owner's box holds no variables"}
	}
	for name, value := range own {
		s.env[name] = value
	}
	return nil
}

// decodeFile takes what clients write: either alphabet, with padding or without.
func decodeFile(text string) ([]byte, error) {
	plain := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	return base64.RawStdEncoding.DecodeString(plain)
}

func hashOf(content []byte) string {
	hash := sha256.Sum256(content)
	return hex.EncodeToString(hash[:])
}
