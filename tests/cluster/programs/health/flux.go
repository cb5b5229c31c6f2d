package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// expressions are what Flux makes of the healthCheckExprs of a kind.
type expressions map[schema.GroupVersionKind]*cel.StatusEvaluator

// kustomization is what matters here of a Kustomization of Flux.
type kustomization struct {
	Spec struct {
		HealthCheckExprs []kustomize.CustomHealthCheck `json:"healthCheckExprs"`
	} `json:"spec"`
}

// readExpressions reads every document of the file: what is no Kustomization has no expressions.
func readExpressions(path string) (expressions, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	found := expressions{}
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		var file kustomization
		if err := yaml.Unmarshal(document, &file); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, check := range file.Spec.HealthCheckExprs {
			evaluator, err := cel.NewStatusEvaluator(&check.HealthCheckExpressions)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", path, check.Kind, err)
			}
			found[schema.FromAPIVersionAndKind(check.APIVersion, check.Kind)] = evaluator
		}
	}
	return found, nil
}
