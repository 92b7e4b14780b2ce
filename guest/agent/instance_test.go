// SPDX-License-Identifier: Apache-2.0
package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	plainInstance = `{"v":1,"kind":"instance","machineId":"mach_1","incarnation":1,"hostname":"a.acme.example","authorizedKey":"ssh-ed25519 AAAA me"}`
	wayToModels   = `{"baseUrl":"http://127.0.0.1:8787/inference/v1","token":"cm_inf_0123456789abcdef","model":"org/model:7b"}`
)

func withInference(access string) string {
	return strings.TrimSuffix(plainInstance, "}") + `,"inference":` + access + "}"
}

func TestAnInstanceIsToldHowToAskModelsOrNot(t *testing.T) {
	without, err := parseInstanceSecrets([]byte(plainInstance), false)
	if err != nil || without.Inference != nil {
		t.Fatal(without, err)
	}
	with, err := parseInstanceSecrets([]byte(withInference(wayToModels)), false)
	if err != nil || with.Inference == nil {
		t.Fatal(with, err)
	}
	path := filepath.Join(t.TempDir(), "casemate", "inference.env")
	if err := writeInference(path, with.Inference); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	const expected = "OPENAI_BASE_URL='http://127.0.0.1:8787/inference/v1'\nOPENAI_API_KEY='cm_inf_0123456789abcdef'\nOPENAI_MODEL='org/model:7b'\n"
	if err != nil || string(text) != expected {
		t.Fatal(string(text), err)
	}
	state, err := os.Stat(path)
	if err != nil || state.Mode().Perm() != 0o600 {
		t.Fatal(state, err)
	}
}

func TestAKeyOfTheTenantsOwnIsTakenAsServersOfModelsMakeThem(t *testing.T) {
	for _, key := range []string{"sk-proj-" + strings.Repeat("aB3_-", 40), "eyJhbGci.eyJz+/=.x~y", "key:12345678"} {
		own := strings.Replace(wayToModels, "cm_inf_0123456789abcdef", key, 1)
		if given, err := parseInstanceSecrets([]byte(withInference(own)), false); err != nil || given.Inference.Token != key {
			t.Error(key, err)
		}
	}
}

func TestAWayToModelsThatWouldBeMoreThanALineIsRefused(t *testing.T) {
	for _, access := range []string{
		`null`,
		`{}`,
		`7`,
		strings.Replace(wayToModels, "org/model:7b", `a'; reboot; '`, 1),
		strings.Replace(wayToModels, "org/model:7b", `a\nPATH=/tmp`, 1),
		strings.Replace(wayToModels, "http://", "file://", 1),
		strings.Replace(wayToModels, "/inference/v1", "/$(reboot)", 1),
		strings.Replace(wayToModels, "cm_inf_", "cm inf ", 1),
		strings.Replace(wayToModels, "cm_inf_", "cm'inf", 1),
		strings.Replace(wayToModels, "cm_inf_", `cm\\`, 1),
		strings.Replace(wayToModels, "0123456789abcdef", strings.Repeat("a", 600), 1),
		strings.Replace(wayToModels, `"model"`, `"more":1,"model"`, 1),
	} {
		if given, err := parseInstanceSecrets([]byte(withInference(access)), false); err == nil {
			t.Error(access, given)
		}
	}
	if _, err := parseInstanceSecrets([]byte(withInference(wayToModels+`,"inference":`+wayToModels)), false); err == nil {
		t.Error("two of one name were read")
	}
}

func TestAKeyOfAStateDiskIsGivenWhereThereIsOneAndNowhereElse(t *testing.T) {
	key := base64.StdEncoding.EncodeToString(make([]byte, stateKeyBytes))
	with := func(words string) []byte {
		return []byte(strings.TrimSuffix(plainInstance, "}") + `,"stateKey":` + words + "}")
	}
	if given, err := parseInstanceSecrets(with(`"`+key+`"`), true); err != nil || given.StateKey != key {
		t.Fatal(given, err)
	}
	for text, hasDisk := range map[string]bool{
		string(with(`"` + key + `"`)):      false,
		plainInstance:                      true,
		string(with(`"` + key[:84] + `"`)): true,
		string(with(`""`)):                 true,
		string(with(`null`)):               true,
		string(with(`"-"`)):                true,
	} {
		if _, err := parseInstanceSecrets([]byte(text), hasDisk); err == nil {
			t.Error(text, hasDisk)
		}
	}
}

func TestAKeyIsReplacedByANewerOneAlone(t *testing.T) {
	var authorized []string
	made := func(number int64, key string) *instanceSecrets {
		return &instanceSecrets{MachineId: "mach_1", Incarnation: 2, Hostname: "a.example", AuthorizedKey: key, KeyNumber: number}
	}
	i := &instance{attester: &attester{}, phase: "starting", authorize: func(keys []string) error { authorized = keys; return nil }}
	if i.claimAnew(made(2, "two")) == nil {
		t.Error("replaced before there was one")
	}
	i.phase, i.claimed = "running", made(1, "one")
	i.attester.login.Store(&login{[]string{"host"}, "a.example", "one"})
	for _, step := range []struct {
		given *instanceSecrets
		taken bool
	}{
		{made(1, "one"), true}, {made(1, "other"), false}, {made(3, "three"), true}, {made(3, "three"), true},
		// What the host kept of before.
		{made(1, "one"), false}, {made(2, "two"), false}, {made(0, "none"), false},
		{&instanceSecrets{MachineId: "mach_1", Incarnation: 1, Hostname: "a.example", AuthorizedKey: "four", KeyNumber: 4}, false},
		{&instanceSecrets{MachineId: "mach_2", Incarnation: 2, Hostname: "a.example", AuthorizedKey: "four", KeyNumber: 4}, false},
		{&instanceSecrets{MachineId: "mach_1", Incarnation: 2, Hostname: "b.example", AuthorizedKey: "four", KeyNumber: 4}, false},
	} {
		if err := i.claimAnew(step.given); (err == nil) != step.taken {
			t.Error(step.given, err)
		}
		if known := i.attester.login.Load().authorizedKey; step.taken && (known != step.given.AuthorizedKey || authorized[0] != known) {
			t.Error(known, authorized)
		}
	}
	if known := i.attester.login.Load(); known.authorizedKey != "three" || authorized[0] != "three" || known.hostKeys[0] != "host" {
		t.Error(known, authorized)
	}
	// What the server could not be told, evidence does not say.
	i.authorize = func([]string) error { return os.ErrPermission }
	if i.claimAnew(made(5, "five")) == nil || i.attester.login.Load().authorizedKey != "three" {
		t.Error("evidence of a key that is not let in")
	}
}
