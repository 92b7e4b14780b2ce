// SPDX-License-Identifier: Apache-2.0
package main

// attestOperations: the guest's keys, its evidence and its certificate.
var attestOperations = map[string]operation{
	"evidence": {do: reads(func(a *agent, asked struct {
		Purpose string  `json:"purpose"`
		Nonce   *string `json:"nonce"`
	}) (made any, err error) {
		attester := a.claim.attester
		attester.turns.forHost(func() { made, err = attester.make(asked.Purpose, asked.Nonce) })
		return made, err
	})},
	"activate": {do: reads(func(a *agent, asked struct {
		Credential string `json:"credential"`
		Secret     string `json:"secret"`
	}) (_ any, err error) {
		var secret string
		attester := a.claim.attester
		attester.turns.forHost(func() { secret, err = attester.activate(asked.Credential, asked.Secret) })
		return map[string]any{"secret": secret}, err
	})},
	"certificate": {do: reads(func(a *agent, given struct {
		Chain string `json:"chain"`
	}) (any, error) {
		return struct{}{}, a.certify(given.Chain)
	})},
}

// certify starts the front with its first chain, and gives it later ones.
func (a *agent) certify(chain string) error {
	if err := a.claim.keys.checkChain(chain); err != nil {
		return err
	}
	if a.claim.front != nil {
		return a.claim.front.replace(chain)
	}
	front, err := startFront(a.processes, a.places, a.claim, chain)
	if err != nil {
		return err
	}
	a.claim.front = front
	return nil
}
