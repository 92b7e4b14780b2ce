// SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"
)

// The client's own compose file, as it was measured, and beside it one of ours that says what the manifest says: exact
// images, and where the public port is. Compose reads both; nothing is rewritten.
const (
	workFolder     = "/run/casemate"
	filesFolder    = workFolder + "/files"
	projectFolder  = workFolder + "/project"
	projectName    = "workload"
	composeProgram = "/usr/bin/docker-compose"
	// Of what it prints; the client's file is 16 MiB at the most, and written out it may be longer.
	composeBytesMax = 64 << 20
	composeRead     = 5 * time.Minute
	// Services may wait for one another, and for what never becomes healthy.
	composeUp = 30 * time.Minute
)

type composeHealth struct {
	Disable bool `json:"disable"`
}

type composeService struct {
	Image       string           `json:"image"`
	PullPolicy  string           `json:"pull_policy"`
	User        string           `json:"user"`
	Environment map[string]*any  `json:"environment"`
	Restart     string           `json:"restart"`
	Deploy      *composeDeploy   `json:"deploy"`
	NetworkMode string           `json:"network_mode"`
	StopGrace   string           `json:"stop_grace_period"`
	Build       *json.RawMessage `json:"build"`
}

type composeDeploy struct {
	RestartPolicy *struct {
		Condition   string `json:"condition"`
		MaxAttempts int    `json:"max_attempts"`
	} `json:"restart_policy"`
}

type composeDocument struct {
	Services map[string]composeService `json:"services"`
}

// names in an order that is the same at each start.
func (d composeDocument) names() []string {
	names := make([]string, 0, len(d.Services))
	for name := range d.Services {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

type composeOverride struct {
	Services map[string]*overrideService `json:"services"`
}

type overrideService struct {
	Image       string            `json:"image,omitempty"`
	Environment map[string]string `json:"environment,omitempty"`
	Ports       []overridePort    `json:"ports,omitempty"`
}

type overridePort struct {
	Mode      string `json:"mode"`
	HostIp    string `json:"host_ip"`
	Target    int    `json:"target"`
	Published string `json:"published"`
	Protocol  string `json:"protocol"`
}

type compose struct {
	processes *processes
	redactor  *redactor
}

// write puts everything into memory file systems: nothing of it outlives the machine.
func (c *compose) write(secrets *workloadSecrets) error {
	os.RemoveAll(workFolder)
	for _, folder := range []string{workFolder, filesFolder, projectFolder} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	for name, content := range secrets.files {
		path := filepath.Join(filesFolder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		// What says itself that it is a program may be run as one.
		mode := os.FileMode(0o644)
		if strings.HasPrefix(string(content), "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(path, content, mode); err != nil {
			return err
		}
	}
	if err := os.WriteFile(projectFolder+"/compose.yaml", []byte(secrets.compose), 0o600); err != nil {
		return err
	}
	return os.WriteFile(projectFolder+"/env", []byte(envFile(secrets.env)), 0o600)
}

// envFile is what compose takes values from, for interpolation and for variables without one. Not from its own environment: there a
// variable of a client's could be one of the program's. Its reader goes by pairs: the quote behind two backslashes is the end.
func envFile(env map[string]string) string {
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `$$`)
	var text strings.Builder
	names := make([]string, 0, len(env))
	for name := range env {
		if name != "FILES" {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(&text, "%s=\"%s\"\n", name, quote.Replace(env[name]))
	}
	fmt.Fprintf(&text, "FILES=\"%s\"\n", filesFolder)
	return text.String()
}

// overrideOf says what the manifest says, and of homes what Docker would.
func overrideOf(document composeDocument, manifest *launchManifest, homeless []string) composeOverride {
	override := composeOverride{map[string]*overrideService{}}
	of := func(name string) *overrideService {
		if override.Services[name] == nil {
			override.Services[name] = &overrideService{}
		}
		return override.Services[name]
	}
	for name := range document.Services {
		if pinned, known := manifest.Images[name]; known {
			of(name).Image = parseImageName(pinned).full()
		}
	}
	for _, name := range homeless {
		of(name).Environment = map[string]string{"HOME": "/"}
	}
	of(manifest.PublicService).Ports = []overridePort{{
		Mode: "ingress", HostIp: "127.0.0.1", Target: manifest.PublicPort,
		Published: strconv.Itoa(publicLoopbackPort), Protocol: "tcp",
	}}
	return override
}

func (c *compose) writeOverride(override composeOverride) error {
	text, err := json.Marshal(override)
	if err != nil {
		return err
	}
	return os.WriteFile(projectFolder+"/override.json", text, 0o600)
}

// read answers the document as compose understands it, with the services that it would start.
func (c *compose) read(ctx context.Context, manifest *launchManifest) (composeDocument, error) {
	var document composeDocument
	text, err := c.run(ctx, composeRead, []string{"compose.yaml"}, "config", "--format", "json")
	if err != nil {
		return document, err
	}
	if err := json.Unmarshal(text, &document); err != nil {
		return document, fmt.Errorf("compose does not answer with its document")
	}
	public, known := document.Services[manifest.PublicService]
	if !known {
		return document, fmt.Errorf("the compose file starts no service of the public one's name")
	}
	if public.NetworkMode != "" {
		return document, fmt.Errorf("the public service has no network of its own")
	}
	for _, name := range document.names() {
		service := document.Services[name]
		if service.Build != nil || parseImageName(service.Image) == nil {
			return document, fmt.Errorf("service %s has no image that can be fetched", c.shownName(name))
		}
		if pinned, known := manifest.Images[name]; known && parseImageName(pinned) == nil {
			return document, fmt.Errorf("the manifest's image of service %s is none", c.shownName(name))
		}
	}
	return document, nil
}

// Compose does not take values into names of services, so they are as public as the file.
func (c *compose) shownName(name string) string { return shortened(printable(name)) }

func (c *compose) up(ctx context.Context) error {
	_, err := c.run(ctx, composeUp, []string{"compose.yaml", "override.json"},
		"up", "--detach", "--no-build", "--pull", "never", "--no-color")
	return err
}

// run: the error has public words of what it said last.
func (c *compose) run(ctx context.Context, limit time.Duration, files []string, args ...string) ([]byte, error) {
	all := []string{"--ansi", "never", "--progress", "plain", "--project-name", projectName,
		"--project-directory", projectFolder, "--env-file", projectFolder + "/env"}
	for _, file := range files {
		all = append(all, "--file", projectFolder+"/"+file)
	}
	said, ended, err := c.processes.capture(ctx, limit, composeBytesMax, program{
		command: composeProgram, args: append(all, args...), cgroup: engineCgroup,
		// Only these two: a client's variable of another name is taken from the file as it is.
		environment: []string{"DOCKER_HOST=unix://" + engineSocket, "DOCKER_CONFIG=" + workFolder + "/docker"},
	})
	if err == nil && ended.status != 0 {
		err = fmt.Errorf("compose: %s", c.redactor.public(ended.words))
	}
	return said, err
}
