// SPDX-License-Identifier: Apache-2.0
package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The file that is baked into the image, as it is committed.
const openclawFile = "../../images/agents/openclaw/agent.json"

func TestSettingsOfAgentAreOfClaimAndNothingIsLeftToFillIn(t *testing.T) {
	packaged, err := readPackaged(openclawFile, "openclaw")
	if err != nil {
		t.Fatal(err)
	}
	models := &inferenceAccess{BaseUrl: "http://127.0.0.1:8787/inference/v1", Token: "cm_inf_0123456789", Model: "org/small"}
	text, err := packaged.settings(models, "made inside")
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(string(text), "<>") || strings.Contains(string(text), `\u003c`) {
		t.Errorf("something is left to fill in: %s", text)
	}
	var read struct {
		Gateway struct {
			Mode, Bind string
			Auth       struct{ Mode, Token string }
		}
		Agents struct {
			Defaults struct{ Model struct{ Primary string } }
		}
		Models struct {
			Providers map[string]struct {
				BaseUrl, ApiKey, Api string
				Models               []struct {
					Id     string
					Compat struct{ SupportsUsageInStreaming bool }
				}
			}
		}
	}
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	own := read.Models.Providers["casemate"]
	if read.Gateway.Auth.Token != "made inside" || read.Gateway.Bind != "loopback" || read.Agents.Defaults.Model.Primary != "casemate/org/small" {
		t.Errorf("the settings are %s", text)
	}
	if own.BaseUrl != models.BaseUrl || own.ApiKey != models.Token || len(own.Models) != 1 || own.Models[0].Id != "org/small" ||
		!own.Models[0].Compat.SupportsUsageInStreaming {
		t.Errorf("the provider is %+v", own)
	}
	again, err := readPackaged(openclawFile, "openclaw")
	if err != nil {
		t.Fatal(err)
	}
	if text, err = again.settings(nil, "made inside"); err != nil || strings.Contains(string(text), "providers") {
		t.Errorf("without models to ask there is a provider: %s %v", text, err)
	}
}

func TestAgentThatIsNotTheImagesIsRefused(t *testing.T) {
	if packaged, err := readPackaged(filepath.Join(t.TempDir(), "absent"), "none"); packaged != nil || err != nil {
		t.Errorf("a machine without an agent needs no file: %v %v", packaged, err)
	}
	for _, wanted := range []string{"openclaw", "another"} {
		file := openclawFile
		if wanted == "openclaw" {
			file = filepath.Join(t.TempDir(), "absent")
		}
		if _, err := readPackaged(file, wanted); err == nil {
			t.Errorf("%s was found in %s", wanted, file)
		}
	}
	text, _ := os.ReadFile(openclawFile)
	root := filepath.Join(t.TempDir(), "agent.json")
	_ = os.WriteFile(root, []byte(strings.Replace(string(text), `"id": 990`, `"id": 0`, 1)), 0o600)
	if _, err := readPackaged(root, "openclaw"); err == nil {
		t.Errorf("an agent would run as root")
	}
}

func TestLogOfAgentIsBounded(t *testing.T) {
	log := &packagedLog{root: t.TempDir(), path: "agent.log"}
	line := strings.Repeat("x", 100_000)
	for range 100 {
		log.line(line)
	}
	info, err := os.Stat(filepath.Join(log.root, log.path))
	if err != nil {
		t.Fatal(err)
	}
	if sum := info.Size(); sum == 0 || sum > packagedLogMax+200_000 {
		t.Errorf("the log has %d bytes", sum)
	}
}

func TestSettingsOfAgentDoNotFollowLinksOutOfTheRootOfPeople(t *testing.T) {
	packaged, err := readPackaged(openclawFile, "openclaw")
	if err != nil {
		t.Fatal(err)
	}
	folder, outside := t.TempDir(), t.TempDir()
	packaged.root, packaged.User.Home, packaged.User.Id = folder, "/home", uint32(os.Getuid())
	if err := os.Symlink(outside, filepath.Join(folder, "home")); err != nil {
		t.Fatal(err)
	}
	if err := packaged.prepare(nil); err == nil {
		t.Errorf("a link out of the root was followed")
	}
	os.Remove(filepath.Join(folder, "home"))
	if err := packaged.prepare(nil); err != nil {
		t.Errorf("without the link it is %v", err)
	}
	info, err := os.Stat(filepath.Join(folder, "home/.openclaw/openclaw.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the settings are %v %v", info, err)
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("something is outside: %v", left)
	}
}
