// SPDX-License-Identifier: Apache-2.0
package main

import (
	"os"
	"path/filepath"
	"strings"
)

const passwdBytesMax = 1 << 20

// isHomeless: of a user whom an image's passwd does not know, podman sets HOME to nothing, where Docker says `/`; programs that
// look for their settings there end at once. An image, and what is written in it, is a stranger's.
func isHomeless(service composeService, image engineImage) bool {
	if _, said := service.Environment["HOME"]; said {
		return false
	}
	for _, each := range image.Config.Env {
		if strings.HasPrefix(each, "HOME=") {
			return false
		}
	}
	user := service.User
	if user == "" {
		user = image.Config.User
	}
	user, _, _ = strings.Cut(user, ":")
	return !knowsUser(image.passwd(), user)
}

// passwd is that of the topmost layer that has one.
func (image engineImage) passwd() string {
	layers := []string{image.GraphDriver.Data.UpperDir}
	layers = append(layers, strings.Split(image.GraphDriver.Data.LowerDir, ":")...)
	for _, layer := range layers {
		if !strings.HasPrefix(layer, storeFolder+"/") {
			continue
		}
		// No link is followed: it would lead into the machine's own files.
		folder, err := os.Lstat(filepath.Join(layer, "etc"))
		if err != nil || !folder.IsDir() {
			continue
		}
		path := filepath.Join(layer, "etc/passwd")
		file, err := os.Lstat(path)
		if err != nil || !file.Mode().IsRegular() || file.Size() > passwdBytesMax {
			continue
		}
		if text, err := os.ReadFile(path); err == nil {
			return string(text)
		}
	}
	return ""
}

func knowsUser(passwd, user string) bool {
	if user == "" {
		user = "0"
	}
	for _, line := range strings.Split(passwd, "\n") {
		words := strings.Split(line, ":")
		if len(words) >= 6 && words[5] != "" && (words[0] == user || words[2] == user) {
			return true
		}
	}
	return false
}
