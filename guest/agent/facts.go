// SPDX-License-Identifier: Apache-2.0
package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// An answer is one line of the port, and a name of an image up to a KiB: of more than these nothing is said.
const shownMax = 64

type statusAnswer struct {
	Phase  string          `json:"phase"`
	Detail string          `json:"detail"`
	Public bool            `json:"public"`
	Images []resolvedImage `json:"images"`
}

func (w *workload) status() statusAnswer {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	images := append([]resolvedImage{}, w.images[:min(len(w.images), shownMax)]...)
	return statusAnswer{w.phase, w.detail, stateOf(w.seen, w.public) == "running", images}
}

type containerFacts struct {
	Names   []string `json:"names"`
	Image   string   `json:"image"`
	ImageId string   `json:"imageId"`
	State   string   `json:"state"`
}

// containers are those that were seen last: a question does not wait for podman. Compose takes values into names of images and
// of containers, so what says one is not shown.
func (w *workload) containers() []containerFacts {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	facts := []containerFacts{}
	for _, each := range w.seen[:min(len(w.seen), shownMax)] {
		image := strings.TrimPrefix(strings.TrimPrefix(each.Image, dockerHub+"/"), "library/")
		if !w.isShown(each.Image) {
			image = "the image of " + each.service()
		}
		names := slices.DeleteFunc(each.shownNames(), func(name string) bool { return name != each.service() && !w.isShown(name) })
		facts = append(facts, containerFacts{
			Names: names, ImageId: "sha256:" + strings.TrimPrefix(each.ImageID, "sha256:"), Image: image,
			State: shownState(each.State),
		})
	}
	return facts
}

func (w *workload) isShown(text string) bool { return w.redactor != nil && w.redactor.shown(text) }

// shownNames: the service's name is what people use; podman's own comes after it.
func (c engineContainer) shownNames() []string {
	names := []string{}
	if service, number := c.service(), c.Labels[labelNumber]; service != "" {
		if number != "" && number != "1" {
			service += "-" + number
		}
		names = append(names, service)
	}
	return append(names, c.Names...)
}

// shownState is Docker's word for podman's.
func shownState(state string) string {
	switch state {
	case "configured", "initialized":
		return "created"
	case "stopping":
		return "running"
	case "stopped":
		return "exited"
	}
	return state
}

func (w *workload) logs(given logsArgs) (any, error) {
	ask, err := given.judge()
	if err != nil {
		return nil, err
	}
	w.mutex.Lock()
	id := ""
	for _, each := range w.seen {
		for _, name := range append(each.shownNames(), each.Id) {
			if name == ask.container {
				id = each.Id
			}
		}
	}
	w.mutex.Unlock()
	if id == "" {
		return nil, refusal{"failed", "the machine has no container of that name"}
	}
	answer, err := readLogs(logFile(id), ask)
	return answer, err
}

type statsAnswer struct {
	Memory memoryFacts `json:"memory"`
	Cpus   []cpuFacts  `json:"cpus"`
	Disks  []diskFacts `json:"disks"`
}

type memoryFacts struct {
	TotalBytes uint64 `json:"totalBytes"`
	UsedBytes  uint64 `json:"usedBytes"`
}

type cpuFacts struct {
	Name  string  `json:"name"`
	Usage float64 `json:"usage"`
}

type diskFacts struct {
	Name       string `json:"name"`
	MountPoint string `json:"mountPoint"`
	Filesystem string `json:"filesystem"`
	SizeBytes  uint64 `json:"sizeBytes"`
	UsedBytes  uint64 `json:"usedBytes"`
}

// cpuTimes: by name, all of its time and the part of it that it worked, as the kernel counted them when it was asked last.
type cpuTimes map[string][2]uint64

func (w *workload) stats() (any, error) {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return nil, err
	}
	available, err := availableKiB()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return nil, err
	}
	total := info.Totalram * uint64(info.Unit)
	answer := statsAnswer{Memory: memoryFacts{total, total - min(total, available*1024)}, Disks: storeFacts()}
	answer.Cpus, w.cpus = cpuUsage(string(text), w.cpus)
	return answer, nil
}

func cpuUsage(stat string, before cpuTimes) ([]cpuFacts, cpuTimes) {
	facts, now := []cpuFacts{}, cpuTimes{}
	for _, line := range strings.Split(stat, "\n") {
		words := strings.Fields(line)
		if len(words) < 5 || !strings.HasPrefix(words[0], "cpu") || words[0] == "cpu" {
			continue
		}
		var all, idle uint64
		// user, nice, system, idle, iowait, irq, softirq, steal; what follows is counted in the first two already.
		for at, word := range words[1:min(len(words), 9)] {
			count, _ := strconv.ParseUint(word, 10, 64)
			all += count
			if at == 3 || at == 4 {
				idle += count
			}
		}
		name := words[0]
		now[name] = [2]uint64{all, all - idle}
		usage := 0.0
		if spent := all - min(all, before[name][0]); spent > 0 {
			worked := (all - idle) - min(all-idle, before[name][1])
			usage = math.Round(min(100, 100*float64(worked)/float64(spent))*100) / 100
		}
		facts = append(facts, cpuFacts{name, usage})
	}
	return facts, now
}

// storeFacts is empty until the store is there: before, the folder is one of the machine's memory.
func storeFacts() []diskFacts {
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return []diskFacts{}
	}
	for _, line := range strings.Split(string(table), "\n") {
		words := strings.Fields(line)
		if len(words) < 3 || words[1] != storeFolder {
			continue
		}
		var facts syscall.Statfs_t
		if err := syscall.Statfs(storeFolder, &facts); err != nil {
			break
		}
		unit := uint64(facts.Bsize)
		return []diskFacts{{
			Name: "disk0", MountPoint: storeFolder, Filesystem: words[2],
			SizeBytes: facts.Blocks * unit, UsedBytes: (facts.Blocks - facts.Bfree) * unit,
		}}
	}
	return []diskFacts{}
}

func doorsOf(ports []int) map[string]bool {
	doors := map[string]bool{}
	for _, port := range ports {
		doors[fmt.Sprint(port)] = true
	}
	return doors
}
