// SPDX-License-Identifier: Apache-2.0
package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"sync"
	"time"
)

// attesterPages answers `/nilcc/*`: what this machine is, to whoever asks.
type attesterPages struct {
	facts facts
	asker *asker

	mutex sync.Mutex
	// Of the report without a nonce, and when it was made.
	plain   *evidence
	plainAt time.Time
}

func newAttesterPages(known facts, asker *asker) http.Handler {
	return &attesterPages{facts: known, asker: asker}
}

func (p *attesterPages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	page, method := p.report, http.MethodGet
	switch r.URL.Path {
	case "/nilcc/api/v2/report":
	case "/nilcc/api/v2/activate":
		page, method = p.activate, http.MethodPost
	case "/nilcc/api/v1/about":
		page = p.about
	case "/nilcc/health":
		page = p.health
	default:
		refuse(w, r, notFound)
		return
	}
	if r.Method != method && !(method == http.MethodGet && r.Method == http.MethodHead) {
		refuse(w, r, methodRefused)
		return
	}
	page(w, r)
}

func (p *attesterPages) report(w http.ResponseWriter, r *http.Request) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	nonces := query["nonce"]
	if err != nil || len(nonces) > 1 {
		refuse(w, r, malformed)
		return
	}
	var nonce *string
	if len(nonces) == 1 {
		bytes, err := hex.DecodeString(nonces[0])
		if err != nil || len(bytes) < nonceBytesMin || len(bytes) > nonceBytesMax {
			refuse(w, r, malformed)
			return
		}
		nonce = &nonces[0]
	}
	made := p.recent(nonce)
	if made == nil {
		answer, ok := p.ask(w, r, frontQuestion{Report: &reportQuestion{nonce}})
		if !ok {
			return
		}
		made = answer.Evidence
		p.keep(nonce, made)
	}
	answerJson(w, p.reportOf(*made, nonce))
}

func (p *attesterPages) recent(nonce *string) *evidence {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if nonce != nil || time.Since(p.plainAt) > plainReportAge {
		return nil
	}
	return p.plain
}

func (p *attesterPages) keep(nonce *string, made *evidence) {
	if nonce != nil {
		return
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.plain, p.plainAt = made, time.Now()
}

// ask has answered itself when it answers false.
func (p *attesterPages) ask(w http.ResponseWriter, r *http.Request, question frontQuestion) (frontAnswer, bool) {
	answer, err := p.asker.ask(r.Context(), question)
	switch {
	case errors.Is(err, errBusy):
		refuse(w, r, busy)
	case err != nil || answer.Failed:
		refuse(w, r, attesterFailed)
	case answer.Malformed:
		refuse(w, r, malformed)
	case question.Report != nil && answer.Evidence == nil:
		refuse(w, r, attesterFailed)
	default:
		return answer, true
	}
	return answer, false
}

// notes say what evidence of each kind is worth; nobody has to believe them.
var notes = map[string]string{
	"tpm":  "The TPM is a program of the host: this shows what was started to whoever trusts the host's operator.",
	"none": "This machine has no evidence of its own.",
}

func (p *attesterPages) reportOf(made evidence, nonce *string) map[string]any {
	spki := sha256Hex(p.facts.Spki)
	answer := map[string]any{
		"platform": made.Platform, "hardware": made.Platform == "sev-snp" || made.Platform == "tdx",
		"report": nil, "raw_report": nil, "gpu_token": nil,
		"environment":    map[string]any{"nilcc_version": version, "vm_type": "cpu", "cpu_count": runtime.NumCPU()},
		"evidence":       made.Bundle,
		"report_data":    made.ReportData,
		"nonce":          nonce,
		"sealing_key":    base64.StdEncoding.EncodeToString(p.facts.SealingKey),
		"tls_key_sha256": spki,
		"manifest":       base64.StdEncoding.EncodeToString(p.facts.Manifest),
	}
	if note, has := notes[made.Platform]; has {
		answer["note"] = note
	}
	if made.Platform == "sev-snp" {
		text, _ := made.Bundle["report"].(string)
		if raw, err := base64.StdEncoding.DecodeString(text); err == nil && len(raw) == snpReportBytes {
			answer["raw_report"], answer["report"] = hex.EncodeToString(raw), decodeSnpReport(raw)
		}
	}
	return answer
}

func (p *attesterPages) activate(w http.ResponseWriter, r *http.Request) {
	wholeBodyWithin(activateBodyLimit, r)
	body, err := io.ReadAll(io.LimitReader(r.Body, activateBodyMax+1))
	if err != nil {
		refuse(w, r, malformed)
		return
	}
	if len(body) > activateBodyMax {
		refuse(w, r, tooLarge)
		return
	}
	var asked activateQuestion
	if readExactly(body, &asked, "credential", "secret") != nil {
		refuse(w, r, malformed)
		return
	}
	if _, _, err := asked.parts(); err != nil {
		refuse(w, r, malformed)
		return
	}
	if answer, ok := p.ask(w, r, frontQuestion{Activate: &asked}); ok {
		answerJson(w, map[string]any{"secret": answer.Secret})
	}
}

func (p *attesterPages) about(w http.ResponseWriter, _ *http.Request) {
	answerJson(w, map[string]any{
		"version": version, "platform": "casemate", "domains": p.facts.Domains, "cpu_count": runtime.NumCPU(),
		"manifest_sha256": sha256Hex(p.facts.Manifest),
	})
}

// health is of this machine; whether the workload is well, the workload says.
func (p *attesterPages) health(w http.ResponseWriter, _ *http.Request) {
	answerJson(w, map[string]any{"status": "ok"})
}

func answerJson(w http.ResponseWriter, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	fields := w.Header()
	fields.Set("Content-Type", "application/json; charset=utf-8")
	fields.Set("Cache-Control", "no-store")
	fields.Set("X-Content-Type-Options", "nosniff")
	fields.Set("Content-Length", strconv.Itoa(len(body)+1))
	_, _ = w.Write(append(body, '\n'))
}
