package mcpserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"

	"hearth/inference"
)

// modelsURI lists the models; behind it follows the escaped id of one.
const modelsURI = "models://"

// maxCompletions is how many values the protocol lets a completion have.
const maxCompletions = 100

// model is what clients are told about a model. The file's path is not theirs.
type model struct {
	ID            string  `json:"id"`
	State         string  `json:"state"`
	Progress      float32 `json:"progress"`
	Error         string  `json:"error,omitempty"`
	Description   string  `json:"description,omitempty"`
	Architecture  string  `json:"architecture,omitempty"`
	Quantization  string  `json:"quantization,omitempty"`
	Parameters    uint64  `json:"parameters,omitempty"`
	FileBytes     int64   `json:"file_bytes,omitempty"`
	Context       int     `json:"context,omitempty"`
	TrainContext  int     `json:"train_context,omitempty"`
	Vocabulary    int     `json:"vocabulary,omitempty"`
	ChatTemplate  bool    `json:"chat_template"`
	TemplateTools bool    `json:"template_tools"`
	GPULayers     int     `json:"gpu_layers"`
	Embeds        int     `json:"embeds,omitempty"`
	WhyNotShared  string  `json:"not_shared_because,omitempty"`
	WhyNotStored  string  `json:"not_stored_because,omitempty"`
	Reranks       bool    `json:"reranks,omitempty"`

	Lora []adapter `json:"lora,omitempty"`
}

type adapter struct {
	Name  string  `json:"name"`
	Scale float32 `json:"scale"`
}

func modelSchema() string {
	count := `"minimum":0`
	return object("", []string{"id", "state", "progress", "chat_template", "template_tools", "gpu_layers"},
		member("id", "string", "The name that requests use.", ""),
		member("state", "string", "Only a ready model answers.", `"enum":["loading","ready","failed"]`),
		member("progress", "number", "How much of it is loaded.", between("0", "1")),
		member("error", "string", "Why it failed.", ""),
		member("description", "string", "What it is, in a few words.", ""),
		member("architecture", "string", "Architecture, as the file names it.", ""),
		member("quantization", "string", "How its weights are stored.", ""),
		member("parameters", "integer", "Number of parameters.", count),
		member("file_bytes", "integer", "Size of its file.", count),
		member("context", "integer", "Tokens that one request, prompt and answer together, may use.", count),
		member("train_context", "integer", "Tokens it was trained for.", count),
		member("vocabulary", "integer", "Number of different tokens.", count),
		member("chat_template", "boolean", "Whether its file says how a conversation is written.", ""),
		member("template_tools", "boolean", "Whether that has a place for tools.", ""),
		member("gpu_layers", "integer", "Layers that are computed on GPUs.", count),
		member("embeds", "integer", "Numbers in a vector that embed gets from it; missing if it makes none.", `"minimum":1`),
		member("not_shared_because", "string", "Why every prompt is computed from its first token; missing where prompts that begin alike share what was computed.", ""),
		member("not_stored_because", "string", "Why prefixes that leave the cache are dropped; missing where they are kept outside of it.", ""),
		member("reranks", "boolean", "Whether rerank can ask it; missing if not.", ""),
		member("lora", "array", "LoRA adapters that chat and generate may use with it.", `"items":`+object("", []string{"name", "scale"},
			member("name", "string", "The name that they take.", ""),
			member("scale", "number", "Its scale where they give none.", ""))),
	)
}

func describe(status inference.ModelStatus) model {
	i := status.Info
	m := model{
		ID: i.ID, State: string(status.State), Progress: status.Progress,
		Description: i.Description, Architecture: i.Architecture, Quantization: i.Quantization,
		Parameters: i.Params, FileBytes: i.FileBytes, Context: i.Context, TrainContext: i.TrainContext, Vocabulary: i.Vocabulary,
		ChatTemplate: i.ChatTemplate, TemplateTools: i.TemplateTools, GPULayers: i.GPULayers, Embeds: i.Embedding.Width, Reranks: i.Rerank.MaxTokens > 0,
		WhyNotShared: i.WhyNotShared, WhyNotStored: i.WhyNotStored,
	}
	for _, a := range i.Adapters {
		m.Lora = append(m.Lora, adapter{Name: a.Name, Scale: a.Scale})
	}
	if status.State == inference.ModelReady {
		m.Progress = 1
	}
	if status.Err != nil {
		m.Error = inference.Classify(status.Err).Message
	}
	return m
}

type modelList struct {
	Models []model `json:"models"`
}

// modelsOf tells of the models as clients see them.
func modelsOf(models inference.Models) modelList {
	l := modelList{Models: []model{}}
	for _, status := range models.List() {
		l.Models = append(l.Models, describe(status))
	}
	return l
}

func (s *Tools) listModelsTool() *tool {
	return &tool{
		name:        "list_models",
		title:       "List models",
		description: "Lists the models that this server offers, with their state and the size of their context. The first is the default.",
		input:       object("", nil),
		output:      object("", []string{"models"}, property{"models", `{"type":"array","description":"The models, in a fixed order.","items":` + modelSchema() + `}`}),
		repeatable:  true,
		run: func(context.Context, *run) (*outcome, error) {
			return &outcome{structured: modelsOf(s.config.Models)}, nil
		},
	}
}

func (s *Server) registerResources() {
	const mime = "application/json"
	if !s.selected.resource(modelsURI) {
		return
	}
	s.mcp.AddResource(
		mcp.NewResource(modelsURI, "models", mcp.WithResourceTitle("Models"), mcp.WithResourceDescription("The models that this server offers."), mcp.WithMIMEType(mime)),
		func(_ context.Context, request mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
			return contents(request.Params.URI, modelsOf(s.config.Models))
		})
	s.mcp.AddResourceTemplate(
		mcp.NewResourceTemplate(modelsURI+"{id}", "model", mcp.WithTemplateTitle("Model"), mcp.WithTemplateDescription("One model: its state, its size and its context."), mcp.WithTemplateMIMEType(mime)),
		func(_ context.Context, request mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
			return s.readModel(request.Params.URI)
		})
}

func (s *Server) readModel(uri string) ([]mcp.ResourceContents, error) {
	id, err := url.PathUnescape(strings.TrimPrefix(uri, modelsURI))
	if err != nil {
		return nil, inference.Invalid("params.uri", "the id of the model is badly escaped")
	}
	var served []string
	for _, status := range s.config.Models.List() {
		if status.Info.ID == id {
			return contents(uri, describe(status))
		}
		served = append(served, status.Info.ID)
	}
	return nil, &notFoundError{uri: uri, err: &inference.ModelError{ID: id, Served: served}}
}

func contents(uri string, v any) ([]mcp.ResourceContents, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", uri, err)
	}
	return []mcp.ResourceContents{mcp.TextResourceContents{URI: uri, MIMEType: "application/json", Text: string(text)}}, nil
}

// completer completes the id in the template of the model resource.
type completer struct{ s *Server }

// CompleteResourceArgument returns the ids that begin with what was typed, or asks
// the connector of the template.
func (c completer) CompleteResourceArgument(ctx context.Context, uri string, argument mcp.CompleteArgument, given mcp.CompleteContext) (*mcp.Completion, error) {
	if c.s.routes(uri) {
		return c.routed(ctx, uri, argument, given)
	}
	if !c.s.selected.resource(modelsURI) || uri != modelsURI+"{id}" || argument.Name != "id" {
		return nil, inference.Invalid("params.ref.uri", "only the argument id of %s{id} can be completed", modelsURI)
	}
	found := &mcp.Completion{Values: []string{}}
	for _, status := range c.s.config.Models.List() {
		if !strings.HasPrefix(status.Info.ID, argument.Value) {
			continue
		}
		found.Total++
		if len(found.Values) < maxCompletions {
			found.Values = append(found.Values, status.Info.ID)
		}
	}
	found.HasMore = found.Total > len(found.Values)
	return found, nil
}
