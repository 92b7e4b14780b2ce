// SPDX-License-Identifier: Apache-2.0
package main

import (
	"encoding/base64"
	"os"
)

// workloadOperations: what runs in the guest, from the sealed box to its logs. Each answers at once, whatever podman does.
var workloadOperations = map[string]operation{
	"payload": {do: reads(func(a *agent, given partArgs) (any, error) {
		return struct{}{}, a.theWorkload().parts.take(given)
	})},
	"up": {do: reads(func(a *agent, _ struct{}) (any, error) { return struct{}{}, a.bringUp() })},
	"status": {do: reads(func(a *agent, _ struct{}) (any, error) {
		if a.instance != nil {
			return a.instance.status(), nil
		}
		return a.theWorkload().status(), nil
	})},
	"down": {do: reads(func(a *agent, _ struct{}) (any, error) {
		a.theWorkload().takeDown()
		return struct{}{}, nil
	})},
	"containers": {do: reads(func(a *agent, _ struct{}) (any, error) {
		return map[string]any{"containers": a.theWorkload().containers()}, nil
	})},
	"logs":  {do: reads(func(a *agent, given logsArgs) (any, error) { return a.theWorkload().logs(given) })},
	"stats": {do: reads(func(a *agent, _ struct{}) (any, error) { return a.theWorkload().stats() })},
}

// theWorkload of this machine: there is one, and one conversation that asks for it.
func (a *agent) theWorkload() *workload {
	if a.workload == nil {
		a.workload = makeWorkload(a.processes)
	}
	return a.workload
}

// bringUp refuses what is wrong before anything is begun, and before a disk is written to.
func (a *agent) bringUp() error {
	w, claimed := a.theWorkload(), a.claim
	if w.status().Phase != "idle" {
		return refusal{"failed", "the workload was brought up before"}
	}
	box, err := w.parts.whole()
	if err != nil {
		return err
	}
	open := func(kind string) func([]byte) ([]byte, error) {
		return func(box []byte) ([]byte, error) { return claimed.keys.openBox(kind, claimed.launch.sha256, box) }
	}
	plain, err := open("secrets")(box)
	if err != nil {
		return err
	}
	defer clear(plain)
	if claimed.launch.manifest.Kind == kindInstance {
		return a.beInstance(plain)
	}
	secrets, err := parseSecrets(plain, claimed.launch.manifest, open("env"))
	if err != nil {
		return err
	}
	var disk *stateDisk
	if claimed.launch.manifest.StateDisk {
		found, err := judgeStateDisk(findDisk("state"), secrets.stateKey)
		if err != nil {
			return err
		}
		disk = &found
	}
	if os.Getpid() != 1 {
		return refusal{"failed", "a workload runs in a machine of its own only"}
	}
	return w.begin(claimed.launch, secrets, disk, doorsOf(claimed.doors))
}

func (a *agent) beInstance(plain []byte) error {
	// Of one that is there already the disk is open.
	hasDisk := a.claim.launch.manifest.StateDisk && a.instance == nil
	secrets, err := parseInstanceSecrets(plain, hasDisk)
	if err != nil {
		return err
	}
	if a.instance != nil {
		return a.instance.claimAnew(secrets)
	}
	var disk *stateDisk
	if hasDisk {
		key, _ := base64.StdEncoding.DecodeString(secrets.StateKey)
		found, err := judgeStateDisk(findDisk("state"), key)
		clear(key)
		if err != nil {
			return err
		}
		disk = &found
	}
	if os.Getpid() != 1 {
		return refusal{"failed", "an instance runs in a machine of its own only"}
	}
	a.instance = &instance{
		processes: a.processes, attester: a.claim.attester, agent: a.claim.launch.manifest.Agent,
		authorize: func(keys []string) error { return writeAuthorized(authorizedFile, keys) },
	}
	a.instance.begin(secrets, disk)
	return nil
}
