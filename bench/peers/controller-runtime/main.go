// A mutating webhook on sigs.k8s.io/controller-runtime, as its users write one: decode the object into its type, change it, marshal it, and
// let the library compare both.
//
// Usage: controller-runtime PORT CERT_DIR MUTATION_FILE
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"os"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// Mutation is what the benchmark wants every server to add; see bench/peers/mutation.ts.
type Mutation struct {
	Annotations  map[string]string    `json:"annotations"`
	Container    string               `json:"container"`
	Flags        []Flag               `json:"flags"`
	Volumes      []corev1.Volume      `json:"volumes"`
	VolumeMounts []corev1.VolumeMount `json:"volumeMounts"`
	Sidecars     []corev1.Container   `json:"sidecars"`
}

// Flag is written as two arguments.
type Flag struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type auditInjector struct {
	decoder  admission.Decoder
	mutation Mutation
}

func (a *auditInjector) Handle(_ context.Context, req admission.Request) admission.Response {
	deployment := &appsv1.Deployment{}
	if err := a.decoder.Decode(req, deployment); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if err := a.mutation.apply(deployment); err != nil {
		return admission.Errored(http.StatusUnprocessableEntity, err)
	}
	marshaled, err := json.Marshal(deployment)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(req.Object.Raw, marshaled)
}

func (m *Mutation) apply(deployment *appsv1.Deployment) error {
	if deployment.Annotations == nil {
		deployment.Annotations = map[string]string{}
	}
	for key, value := range m.Annotations {
		deployment.Annotations[key] = value
	}
	spec := &deployment.Spec.Template.Spec
	index := slices.IndexFunc(spec.Containers, func(c corev1.Container) bool { return c.Name == m.Container })
	if index < 0 {
		return errors.New("there is no container " + m.Container)
	}
	container := &spec.Containers[index]
	for _, flag := range m.Flags {
		if at := slices.Index(container.Args, flag.Name); at >= 0 && at+1 < len(container.Args) {
			container.Args[at+1] = flag.Value
		} else {
			container.Args = append(container.Args, flag.Name, flag.Value)
		}
	}
	container.VolumeMounts = ensure(container.VolumeMounts, m.VolumeMounts, func(v corev1.VolumeMount) string { return v.MountPath })
	spec.Volumes = ensure(spec.Volumes, m.Volumes, func(v corev1.Volume) string { return v.Name })
	spec.Containers = ensure(spec.Containers, m.Sidecars, func(c corev1.Container) string { return c.Name })
	return nil
}

// ensure sets each wanted item in the place of the one with its key, or at the end.
func ensure[T any](items, wanted []T, key func(T) string) []T {
	for _, item := range wanted {
		if at := slices.IndexFunc(items, func(other T) bool { return key(other) == key(item) }); at >= 0 {
			items[at] = item
		} else {
			items = append(items, item)
		}
	}
	return items
}

func run(args []string) error {
	if len(args) != 3 {
		return errors.New("usage: controller-runtime PORT CERT_DIR MUTATION_FILE")
	}
	port, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	text, err := os.ReadFile(args[2])
	if err != nil {
		return err
	}
	injector := &auditInjector{}
	if err := json.Unmarshal(text, &injector.mutation); err != nil {
		return err
	}
	ctrl.SetLogger(zap.New())
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	injector.decoder = admission.NewDecoder(scheme)
	server := webhook.NewServer(webhook.Options{Host: "127.0.0.1", Port: port, CertDir: args[1]})
	server.Register("/mutate", &webhook.Admission{Handler: injector})
	return server.Start(ctrl.SetupSignalHandler())
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}
