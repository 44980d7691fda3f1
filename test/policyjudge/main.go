// policyjudge asks Kubernetes' own code what it makes of an audit policy: the loader, the validation and the rule evaluator of
// k8s.io/apiserver/pkg/audit/policy. It reads one JSON object a line on standard input and answers with one a line.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"sort"
	"time"

	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/klog/v2"
)

type request struct {
	// User is nil for a request that nobody was authenticated for.
	User *struct {
		Name   string   `json:"name"`
		Groups []string `json:"groups"`
	} `json:"user"`
	Verb        string `json:"verb"`
	IsResource  bool   `json:"isResource"`
	Namespace   string `json:"namespace"`
	APIGroup    string `json:"apiGroup"`
	Resource    string `json:"resource"`
	Subresource string `json:"subresource"`
	Name        string `json:"name"`
	Path        string `json:"path"`
}

func (r *request) attributes() authorizer.Attributes {
	attributes := authorizer.AttributesRecord{
		Verb: r.Verb, ResourceRequest: r.IsResource, Namespace: r.Namespace, APIGroup: r.APIGroup,
		Resource: r.Resource, Subresource: r.Subresource, Name: r.Name, Path: r.Path,
	}
	if r.User != nil {
		attributes.User = &user.DefaultInfo{Name: r.User.Name, Groups: r.User.Groups}
	}
	return attributes
}

type question struct {
	// Policy is base64 in JSON, so that it may hold any bytes.
	Policy   []byte    `json:"policy"`
	Requests []request `json:"requests"`
	// Rounds asks for a measurement instead: all requests are evaluated so many times.
	Rounds int `json:"rounds"`
}

type verdict struct {
	Level             string   `json:"level"`
	OmitStages        []string `json:"omitStages"`
	OmitManagedFields bool     `json:"omitManagedFields"`
}

type answer struct {
	// Error is empty for a policy that kube-apiserver starts with.
	Error string `json:"error"`
	// Rules and OmitStages are the policy as it was loaded, before the evaluator joins the stages.
	Rules      json.RawMessage `json:"rules,omitempty"`
	OmitStages json.RawMessage `json:"omitStages,omitempty"`
	// Panicked says that kube-apiserver would have crashed instead of refusing.
	Panicked                 bool      `json:"panicked,omitempty"`
	Verdicts                 []verdict `json:"verdicts,omitempty"`
	NanosecondsPerEvaluation float64   `json:"nanosecondsPerEvaluation,omitempty"`
}

func judge(q *question) (a answer) {
	defer func() {
		if r := recover(); r != nil {
			a = answer{Error: fmt.Sprint(r), Panicked: true}
		}
	}()
	loaded, err := policy.LoadPolicyFromBytes(q.Policy)
	if err != nil {
		return answer{Error: err.Error()}
	}
	a.Rules, _ = json.Marshal(loaded.Rules)
	a.OmitStages, _ = json.Marshal(loaded.OmitStages)
	evaluator := policy.NewPolicyRuleEvaluator(loaded)
	if q.Rounds > 0 {
		attributes := make([]authorizer.Attributes, len(q.Requests))
		for i := range q.Requests {
			attributes[i] = q.Requests[i].attributes()
		}
		started := time.Now()
		for round := 0; round < q.Rounds; round++ {
			for _, one := range attributes {
				evaluator.EvaluatePolicyRule(one)
			}
		}
		total := float64(q.Rounds * len(attributes))
		return answer{NanosecondsPerEvaluation: float64(time.Since(started).Nanoseconds()) / total}
	}
	for i := range q.Requests {
		result := evaluator.EvaluatePolicyRule(q.Requests[i].attributes())
		stages := make([]string, 0, len(result.OmitStages))
		for _, stage := range result.OmitStages {
			stages = append(stages, string(stage))
		}
		sort.Strings(stages)
		a.Verdicts = append(a.Verdicts, verdict{string(result.Level), stages, result.OmitManagedFields})
	}
	return a
}

func main() {
	flags := flag.NewFlagSet("klog", flag.PanicOnError)
	klog.InitFlags(flags)
	flags.Set("logtostderr", "false")
	flags.Set("stderrthreshold", "FATAL")
	klog.SetOutput(io.Discard)

	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	encoder := json.NewEncoder(out)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 1 {
			var q question
			if err := json.Unmarshal(line, &q); err != nil {
				fmt.Fprintln(os.Stderr, "policyjudge:", err)
				os.Exit(1)
			}
			encoder.Encode(judge(&q))
			if in.Buffered() == 0 {
				out.Flush()
			}
		}
		if err != nil {
			out.Flush()
			return
		}
	}
}
