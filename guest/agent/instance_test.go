// SPDX-License-Identifier: Apache-2.0
package main

import (
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
	without, err := parseInstanceSecrets([]byte(plainInstance))
	if err != nil || without.Inference != nil {
		t.Fatal(without, err)
	}
	with, err := parseInstanceSecrets([]byte(withInference(wayToModels)))
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
		strings.Replace(wayToModels, `"model"`, `"more":1,"model"`, 1),
	} {
		if given, err := parseInstanceSecrets([]byte(withInference(access))); err == nil {
			t.Error(access, given)
		}
	}
	if _, err := parseInstanceSecrets([]byte(withInference(wayToModels + `,"inference":` + wayToModels))); err == nil {
		t.Error("two of one name were read")
	}
}
