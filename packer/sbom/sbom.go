// Package sbom writes what is in an image as an SPDX 2.3 document: Debian's
// packages and the Go modules that programs were built from.
package sbom

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
	"github.com/spdx/tools-golang/spdxlib"

	"github.com/redoubt-registry/redoubt/packer/debian"
)

const noAssertion = "NOASSERTION"

// Image is what a document is about.
type Image struct {
	Name, Version string
	Created       time.Time
	Root          string // the root's directory, for licences and programs
	Distribution  string // "debian-13"
	Packages      []debian.Package
	Programs      []string // Go programs, absolute paths in Root
}

// Write writes the document of img to w. Equal images are equal bytes.
func Write(w io.Writer, img Image) error {
	doc := newDocument(img)
	for _, p := range img.Packages {
		add(doc, "SPDXRef-Image", common.TypeRelationshipContains, debianPackage(img, p))
	}
	for _, path := range img.Programs {
		if err := addProgram(doc, img, path); err != nil {
			return err
		}
	}
	sum := sha256.New()
	for _, p := range doc.Packages {
		fmt.Fprintln(sum, p.PackageName, p.PackageVersion, p.PackageLicenseDeclared)
	}
	doc.DocumentNamespace = fmt.Sprintf("https://spdx.org/spdxdocs/%s-%s-%s", img.Name, img.Version, hex.EncodeToString(sum.Sum(nil)[:16]))
	if err := spdxlib.ValidateDocument(doc); err != nil {
		return fmt.Errorf("cannot describe the image: %w", err)
	}
	if err := json.Write(doc, w, json.Indent(" ")); err != nil {
		return fmt.Errorf("cannot write the SBOM: %w", err)
	}
	return nil
}

func newDocument(img Image) *v2_3.Document {
	doc := &v2_3.Document{
		SPDXVersion: v2_3.Version, DataLicense: v2_3.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName: img.Name + "-" + img.Version,
		CreationInfo: &v2_3.CreationInfo{
			Created:  img.Created.UTC().Format(time.RFC3339),
			Creators: []common.Creator{{CreatorType: "Tool", Creator: "packer-plugin-redoubt"}},
		},
	}
	image := &v2_3.Package{
		PackageName: img.Name, PackageVersion: img.Version, PackageSPDXIdentifier: "Image",
		PackageDownloadLocation: noAssertion, PackageLicenseConcluded: noAssertion,
		PackageLicenseDeclared: noAssertion, PackageCopyrightText: noAssertion,
		PrimaryPackagePurpose: "OPERATING-SYSTEM",
	}
	add(doc, "SPDXRef-DOCUMENT", common.TypeRelationshipDescribe, image)
	return doc
}

// add puts p into doc, related to from, once.
func add(doc *v2_3.Document, from, relation string, p *v2_3.Package) {
	known := false
	for _, q := range doc.Packages {
		known = known || q.PackageSPDXIdentifier == p.PackageSPDXIdentifier
	}
	if !known {
		doc.Packages = append(doc.Packages, p)
	}
	doc.Relationships = append(doc.Relationships, &v2_3.Relationship{
		RefA:         common.MakeDocElementID("", strings.TrimPrefix(from, "SPDXRef-")),
		RefB:         common.MakeDocElementID("", string(p.PackageSPDXIdentifier)),
		Relationship: relation,
	})
}

// identifier makes an SPDX identifier, which has letters, digits, "." and "-",
// out of a name; what had to go is told apart by a digest.
func identifier(kind, name string) common.ElementID {
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '-'
	}, name)
	if clean != name {
		sum := sha256.Sum256([]byte(name))
		clean += "-" + hex.EncodeToString(sum[:3])
	}
	return common.ElementID(kind + "-" + clean)
}

func purl(locator string) []*v2_3.PackageExternalReference {
	return []*v2_3.PackageExternalReference{{
		Category: "PACKAGE-MANAGER", RefType: "purl", Locator: locator,
	}}
}

func debianPackage(img Image, p debian.Package) *v2_3.Package {
	escape := strings.NewReplacer("+", "%2B", ":", "%3A", "~", "~").Replace
	return &v2_3.Package{
		PackageName: p.Name, PackageVersion: p.Version,
		PackageSPDXIdentifier:   identifier("Debian", p.Name+"-"+p.Architecture),
		PackageSupplier:         &common.Supplier{SupplierType: "Organization", Supplier: p.Maintainer},
		PackageSourceInfo:       "built from source package " + p.Source + " " + p.SourceVersion,
		PackageDownloadLocation: noAssertion, PackageCopyrightText: noAssertion,
		PackageLicenseConcluded: noAssertion,
		PackageLicenseDeclared:  debianLicence(filepath.Join(img.Root, "usr/share/doc", p.Name, "copyright")),
		PackageExternalReferences: purl(fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s&distro=%s",
			escape(p.Name), escape(p.Version), p.Architecture, img.Distribution)),
	}
}

// addProgram adds a Go program and the modules that it says it was built from.
func addProgram(doc *v2_3.Document, img Image, path string) error {
	info, err := buildinfo.ReadFile(filepath.Join(img.Root, path))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot describe %s: it is not in the image", path)
	}
	if err != nil {
		return fmt.Errorf("cannot read the modules of %s: %w", path, err)
	}
	main := goModule(&info.Main, img.Version)
	main.PrimaryPackagePurpose = "APPLICATION"
	add(doc, "SPDXRef-Image", common.TypeRelationshipContains, main)
	from := "SPDXRef-" + string(main.PackageSPDXIdentifier)
	add(doc, from, common.TypeRelationshipDependsOn, goModule(&debug.Module{Path: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go")}, ""))
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		add(doc, from, common.TypeRelationshipDependsOn, goModule(m, ""))
	}
	return nil
}

func goModule(m *debug.Module, version string) *v2_3.Package {
	if version == "" {
		version = m.Version
	}
	return &v2_3.Package{
		PackageName: m.Path, PackageVersion: version, PackageSPDXIdentifier: identifier("Go", m.Path+"-"+version),
		PackageDownloadLocation: noAssertion, PackageCopyrightText: noAssertion,
		PackageLicenseConcluded: noAssertion, PackageLicenseDeclared: noAssertion,
		PackageExternalReferences: purl("pkg:golang/" + m.Path + "@" + strings.ReplaceAll(version, "+", "%2B")),
	}
}
