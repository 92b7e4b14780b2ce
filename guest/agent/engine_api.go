// SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	engineSocket = "/run/podman/podman.sock"
	// Of a question that podman answers from what it knows.
	engineAnswer    = 60 * time.Second
	engineBytesMax  = 8 << 20
	engineWordsMax  = 4096
	engineApiPrefix = "http://podman/v5.0.0/libpod"
)

// engineApi asks podman over its socket: a program of it for each question would cost a second and more each time.
type engineApi struct{ client *http.Client }

func newEngineApi() *engineApi {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", engineSocket)
	}
	return &engineApi{&http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConns: 4, IdleConnTimeout: time.Minute}}}
}

// engineFault is podman's answer that it did not; its words may hold anything that it was given.
type engineFault struct {
	status int
	words  string
}

func (f engineFault) Error() string { return f.words }

func isEngineStatus(err error, status int) bool {
	var fault engineFault
	return errors.As(err, &fault) && fault.status == status
}

func (api *engineApi) ask(ctx context.Context, method, path string, query url.Values, into any) error {
	ctx, cancel := context.WithTimeout(ctx, engineAnswer)
	defer cancel()
	answer, err := api.send(ctx, method, path, query, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if into == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, engineBytesMax))
		return err
	}
	return json.NewDecoder(io.LimitReader(answer.Body, engineBytesMax)).Decode(into)
}

func (api *engineApi) send(ctx context.Context, method, path string, query url.Values, headers map[string]string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, engineApiPrefix+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	answer, err := api.client.Do(request)
	if err != nil {
		return nil, err
	}
	// 304: it was so already.
	if answer.StatusCode < 300 || answer.StatusCode == http.StatusNotModified {
		return answer, nil
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, engineWordsMax))
	fault := engineFault{answer.StatusCode, fmt.Sprintf("podman answered %d", answer.StatusCode)}
	var said struct{ Cause, Message string }
	if json.Unmarshal(text, &said) == nil && said.Message != "" {
		fault.words = said.Message
	}
	return nil, fault
}

// engineContainer is one of podman's list, as far as it is read.
type engineContainer struct {
	Id        string
	Names     []string
	Image     string
	ImageID   string
	State     string
	ExitCode  int
	ExitedAt  int64
	Restarts  int
	StartedAt int64
	Labels    map[string]string
}

const (
	labelService = "com.docker.compose.service"
	labelNumber  = "com.docker.compose.container-number"
)

func (c engineContainer) service() string { return c.Labels[labelService] }

// alive: or about to be, by podman's own doing.
func (c engineContainer) runs() bool { return c.State == "running" || c.State == "paused" }

func (api *engineApi) containers(ctx context.Context) (all []engineContainer, err error) {
	err = api.ask(ctx, "GET", "/containers/json", url.Values{"all": {"true"}}, &all)
	return all, err
}

func (api *engineApi) removeContainer(ctx context.Context, id string) error {
	query := url.Values{"force": {"true"}, "timeout": {"0"}, "v": {"true"}, "ignore": {"true"}}
	return api.ask(ctx, "DELETE", "/containers/"+id, query, nil)
}

// stopContainer gives it as long as it asked for, and not longer than the machine has.
func (api *engineApi) stopContainer(ctx context.Context, id string, grace time.Duration) error {
	query := url.Values{"timeout": {fmt.Sprint(int(grace / time.Second))}, "ignore": {"true"}}
	return api.ask(ctx, "POST", "/containers/"+id+"/stop", query, nil)
}

func (api *engineApi) startContainer(ctx context.Context, id string) error {
	return api.ask(ctx, "POST", "/containers/"+id+"/start", url.Values{}, nil)
}

type engineImage struct {
	Id          string
	RepoDigests []string
	Config      struct {
		Env  []string
		User string
	}
	GraphDriver struct {
		Data struct{ UpperDir, LowerDir string }
	}
}

func (api *engineApi) image(ctx context.Context, name string) (image engineImage, err error) {
	err = api.ask(ctx, "GET", "/images/"+url.PathEscape(name)+"/json", url.Values{}, &image)
	return image, err
}

type pullAsk struct {
	reference string
	// Always asks the registry what the name means now; otherwise only what is not here is fetched.
	always bool
	// Without TLS: only where nothing lies between this machine's loopback and the host's registry but the door.
	plain bool
	login *registryLogin
}

// pull tells each of podman's lines. The login goes with this one question and is nowhere in a file.
func (api *engineApi) pull(ctx context.Context, ask pullAsk, onLine func(string)) error {
	query := url.Values{"reference": {ask.reference}, "policy": {"missing"}}
	if ask.always {
		query.Set("policy", "always")
	}
	if ask.plain {
		query.Set("tlsVerify", "false")
	}
	headers := map[string]string{}
	if ask.login != nil {
		text, err := json.Marshal(map[string]string{"username": *ask.login.Username, "password": *ask.login.Password})
		if err != nil {
			return err
		}
		headers["X-Registry-Auth"] = base64.URLEncoding.EncodeToString(text)
	}
	answer, err := api.send(ctx, "POST", "/images/pull", query, headers)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	decoder := json.NewDecoder(answer.Body)
	for {
		var said struct{ Stream, Error, Id string }
		if err := decoder.Decode(&said); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if said.Error != "" {
			return engineFault{http.StatusInternalServerError, said.Error}
		}
		if said.Stream != "" {
			onLine(said.Stream)
		}
	}
}
