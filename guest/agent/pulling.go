// SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"fmt"
	"strings"
)

// pulling brings every service's image here, exactly that of the manifest where it names one, and tells which one it is.
type pulling struct {
	workload *workload
	manifest *launchManifest
	compose  string
	logins   map[string]registryLogin
	doors    map[string]bool
	redactor *redactor
}

// all answers the services whose users have no home in their images.
func (p *pulling) all(ctx context.Context, document composeDocument) (homeless []string, err error) {
	names := document.names()
	brought := map[string]engineImage{}
	for at, service := range names {
		given := document.Services[service]
		reference := given.Image
		if pinned, known := p.manifest.Images[service]; known {
			reference = pinned
		}
		name := parseImageName(reference)
		image, here := brought[name.full()]
		if !here {
			words := fmt.Sprintf("pulling %s (%d of %d)", p.shown(service, name), at+1, len(names))
			if image, err = p.one(ctx, name, given.PullPolicy, words); err != nil {
				return nil, fmt.Errorf("the image of service %s: %w", service, err)
			}
			brought[name.full()] = image
		}
		if p.isPublic(name) {
			p.workload.resolved(resolvedImage{service, given.Image, digestOf(name, image)})
		}
		if isHomeless(given, image) {
			homeless = append(homeless, service)
		}
	}
	return homeless, nil
}

func (p *pulling) one(ctx context.Context, name *imageName, policy, words string) (engineImage, error) {
	p.workload.say("pulling", words)
	if policy != "never" {
		ask := pullAsk{reference: name.full(), always: policy == "always" && name.digest == "", plain: name.onDoor(p.doors)}
		if login, known := p.logins[name.registry]; known {
			ask.login = &login
		}
		layers := 0
		err := p.workload.api.pull(ctx, ask, func(line string) {
			if strings.HasPrefix(line, "Copying blob") {
				layers++
				p.workload.say("pulling", fmt.Sprintf("%s: layer %d", words, layers))
			}
		})
		if err != nil {
			return engineImage{}, err
		}
	}
	return p.workload.api.image(ctx, name.full())
}

// isPublic: a name that a variable was taken into may say what the variable says.
func (p *pulling) isPublic(name *imageName) bool {
	for _, pinned := range p.manifest.Images {
		if parsed := parseImageName(pinned); parsed != nil && *parsed == *name {
			return true
		}
	}
	return strings.Contains(p.compose, name.repository) && p.redactor.shown(name.full())
}

func (p *pulling) shown(service string, name *imageName) string {
	if p.isPublic(name) {
		return name.full()
	}
	return "the image of " + service
}

// digestOf is `name@sha256:…` of its registry, or the id of an image that came from none.
func digestOf(name *imageName, image engineImage) string {
	if name.digest != "" {
		return name.full()
	}
	for _, each := range image.RepoDigests {
		if strings.HasPrefix(each, name.base()+"@") {
			return each
		}
	}
	return "sha256:" + strings.TrimPrefix(image.Id, "sha256:")
}

func (w *workload) resolved(image resolvedImage) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.images = append(w.images, image)
}
