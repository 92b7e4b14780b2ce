// SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"
)

// publicLoopbackPort is where the public service is published in the guest, on its loopback alone.
const publicLoopbackPort = 18080

// newWorkload carries requests to the public service.
func newWorkload(address string) http.Handler {
	dialer := &net.Dialer{Timeout: connectLimit}
	return &httputil.ReverseProxy{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				connection, err := dialer.DialContext(ctx, "tcp", address)
				if err != nil {
					return nil, errors.Join(errNotUp, err)
				}
				return connection, nil
			},
			DisableCompression:     true,
			MaxIdleConnsPerHost:    poolMax,
			IdleConnTimeout:        poolIdleLimit,
			ResponseHeaderTimeout:  answerSilenceLimit,
			ExpectContinueTimeout:  time.Second,
			MaxResponseHeaderBytes: answerHeadersMax,
		},
		FlushInterval:  -1, // what streams must not wait
		ErrorLog:       log.New(io.Discard, "", 0),
		Rewrite:        func(both *httputil.ProxyRequest) { rewrite(both, address) },
		ModifyResponse: watchSilence,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			var slow net.Error
			switch {
			case errors.Is(err, errNotUp):
				refuse(w, r, stopped)
			case errors.As(err, &slow) && slow.Timeout():
				refuse(w, r, noAnswer)
			default:
				refuse(w, r, unreachable)
			}
		},
	}
}

var errNotUp = errors.New("the public service takes no connection")

func rewrite(both *httputil.ProxyRequest, address string) {
	in, out := both.In, both.Out
	out.URL = &url.URL{
		Scheme: "http", Host: address,
		// As the client wrote it: what cannot be read as a query is still the workload's to read.
		Path: in.URL.Path, RawPath: in.URL.RawPath, RawQuery: in.URL.RawQuery, ForceQuery: in.URL.ForceQuery,
		Opaque: starOnly(in),
	}
	out.Host = in.Host
	removeOurs(out.Header)
	if !keepUpgrade(in) {
		out.Header.Del(upgradeToken)
		out.Header.Del("Connection")
	}
	// Trailers would be merged into the fields by some servers, behind what was removed from those.
	out.Trailer = nil
	client, _, _ := net.SplitHostPort(in.RemoteAddr)
	out.Header.Set("X-Forwarded-For", client)
	out.Header.Set("X-Forwarded-Proto", "https")
	out.Header.Set("X-Forwarded-Host", in.Host)
}

// starOnly: OPTIONS of the server itself.
func starOnly(r *http.Request) string {
	if r.RequestURI == "*" {
		return "*"
	}
	return ""
}

// watchSilence ends an answer, or a tunnel, in which nothing was said for too long.
func watchSilence(answer *http.Response) error {
	if tunnel, is := answer.Body.(io.ReadWriteCloser); is && answer.StatusCode == http.StatusSwitchingProtocols {
		answer.Body = &watched{tunnel, tunnel, time.AfterFunc(tunnelSilenceLimit, func() { tunnel.Close() }), tunnelSilenceLimit}
		return nil
	}
	body := answer.Body
	answer.Body = &watched{body, nil, time.AfterFunc(answerSilenceLimit, func() { body.Close() }), answerSilenceLimit}
	return nil
}

type watched struct {
	io.ReadCloser
	writer io.Writer
	timer  *time.Timer
	limit  time.Duration
}

func (s *watched) Read(into []byte) (int, error) {
	count, err := s.ReadCloser.Read(into)
	s.timer.Reset(s.limit)
	return count, err
}

func (s *watched) Write(bytes []byte) (int, error) {
	s.timer.Reset(s.limit)
	return s.writer.Write(bytes)
}

func (s *watched) Close() error {
	s.timer.Stop()
	return s.ReadCloser.Close()
}
