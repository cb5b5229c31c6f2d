// Health says what others think of objects: kstatus, by which Helm and Flux wait, the health checks of an argocd-cm, and the
// healthCheckExprs of a Kustomization of Flux.
//
//	health ARGOCD-CM KUSTOMIZATION
//
// It reads objects from standard input, each as JSON, and prints one line of JSON for each.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	flux "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	upstream "sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// verdict is what is thought of one object.
type verdict struct {
	// Kstatus is what `helm --wait` goes by, and Flux for kinds without expressions.
	Kstatus string `json:"kstatus"`
	// ArgoCD is left out for kinds without a health check.
	ArgoCD *health `json:"argocd,omitempty"`
	// Flux is what a Kustomization with these expressions goes by: Unknown, with the reason, if one cannot be evaluated.
	Flux string `json:"flux"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "health:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 2 {
		return errors.New("usage: health ARGOCD-CM KUSTOMIZATION <OBJECTS")
	}
	checks, err := readChecks(arguments[0])
	if err != nil {
		return err
	}
	expressions, err := readExpressions(arguments[1])
	if err != nil {
		return err
	}
	objects := json.NewDecoder(os.Stdin)
	verdicts := json.NewEncoder(os.Stdout)
	for {
		var raw json.RawMessage
		if err := objects.Decode(&raw); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		// As clients of Kubernetes read it: whole numbers are int64.
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(raw); err != nil {
			return err
		}
		said, err := judge(object, checks, expressions)
		if err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
		if err := verdicts.Encode(said); err != nil {
			return err
		}
	}
}

func judge(object *unstructured.Unstructured, checks checks, expressions expressions) (*verdict, error) {
	generic, err := kstatus(object)
	if err != nil {
		return nil, err
	}
	argocd, err := checks.judge(object)
	if err != nil {
		return nil, err
	}
	said := &verdict{Kstatus: generic, ArgoCD: argocd, Flux: generic}
	if evaluator := expressions[object.GroupVersionKind()]; evaluator != nil {
		if result, err := evaluator.Evaluate(context.Background(), object); err != nil {
			said.Flux = fmt.Sprintf("%s: %v", flux.UnknownStatus, err)
		} else {
			said.Flux = result.Status.String()
		}
	}
	return said, nil
}

// kstatus asks the library and the fork of it that Helm and Flux are built with.
func kstatus(object *unstructured.Unstructured) (string, error) {
	one, err := upstream.Compute(object)
	if err != nil {
		return "", err
	}
	other, err := flux.Compute(object)
	if err != nil {
		return "", err
	}
	if one.Status.String() != other.Status.String() {
		return "", fmt.Errorf("kstatus says %s, and the fork of it %s", one.Status, other.Status)
	}
	return one.Status.String(), nil
}
