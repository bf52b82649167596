package stripefake

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// servePDF answers an invoice as a PDF, made anew each time.
func (f *Fake) servePDF(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	invoice := f.hosted(r)
	var lines []string
	if invoice != nil {
		lines = f.invoiceText(invoice)
	}
	f.mu.Unlock()
	if invoice == nil {
		f.message(w, http.StatusNotFound, "No such invoice", "The link is wrong, or the invoice was deleted.")
		return
	}
	file := pdf(lines)
	w.Header().Set("Content-Type", "application/pdf")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", "Invoice-"+lines[2]+".pdf"))
	w.Header().Set("Content-Length", itoa(int64(len(file))))
	if _, err := w.Write(file); err != nil {
		f.log.Debug("stripefake: PDF", "error", err)
	}
}

// invoiceText is what an invoice says, line by line. The third line is its number.
func (f *Fake) invoiceText(invoice object) []string {
	v := f.invoiceView(invoice, "", false, "")
	date := time.Unix(invoice.num("effective_at"), 0).UTC().Format(time.DateOnly)
	lines := []string{"INVOICE", "", invoice.str("number"), "Date: " + date, "", "From: " + f.cfg.Name, "To: " + invoice.str("customer_name")}
	buyer := invoice.sub("customer_address")
	for _, text := range []string{
		buyer.str("line1"), buyer.str("line2"), strings.TrimSpace(buyer.str("postal_code") + " " + buyer.str("city")), buyer.str("country"),
	} {
		if text != "" {
			lines = append(lines, "    "+text)
		}
	}
	for _, id := range invoice.list("customer_tax_ids") {
		o, _ := id.(object)
		lines = append(lines, "VAT ID: "+o.str("value"))
	}
	lines = append(lines, "")
	for _, l := range v.Lines {
		lines = append(lines, l.Text+": "+l.Amount)
	}
	lines = append(lines, "", "Net: "+v.Net, v.TaxName+": "+v.Tax, "Total: "+v.Total, "", "Status: "+v.Status, "")
	if footer := invoice.str("footer"); footer != "" {
		lines = append(lines, footer, "")
	}
	lines = append(lines, "Made by a fake of Stripe for tests and demonstrations. No invoice in law.")
	return lines
}

// pdf makes a page of text (ISO 32000-1; the text in WinAnsiEncoding).
func pdf(lines []string) []byte {
	var content bytes.Buffer
	content.WriteString("BT\n/F1 11 Tf\n14 TL\n60 780 Td\n")
	for _, text := range lines {
		fmt.Fprintf(&content, "(%s) Tj T*\n", pdfText(text))
	}
	content.WriteString("ET\n")

	var file bytes.Buffer
	file.WriteString("%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
	var offsets []int
	for i, body := range []string{
		"<< /Type /Catalog /Pages 2 0 R >>",
		"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
		"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 5 0 R >> >> /Contents 4 0 R >>",
		fmt.Sprintf("<< /Length %d >>\nstream\n%sendstream", content.Len(), content.String()),
		"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
	} {
		offsets = append(offsets, file.Len())
		fmt.Fprintf(&file, "%d 0 obj\n%s\nendobj\n", i+1, body)
	}
	start := file.Len()
	fmt.Fprintf(&file, "xref\n0 %d\n0000000000 65535 f \n", len(offsets)+1)
	for _, offset := range offsets {
		fmt.Fprintf(&file, "%010d 00000 n \n", offset)
	}
	fmt.Fprintf(&file, "trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n", len(offsets)+1, start)
	return file.Bytes()
}

// pdfText encodes and escapes a text; what WinAnsiEncoding lacks becomes a question mark.
func pdfText(text string) string {
	var encoded strings.Builder
	for _, r := range text {
		switch {
		case r == '(' || r == ')' || r == '\\':
			encoded.WriteByte('\\')
			encoded.WriteByte(byte(r))
		case r == '€':
			encoded.WriteByte(0x80)
		case r >= 0x20 && r < 0x7f || r >= 0xa0 && r <= 0xff:
			encoded.WriteByte(byte(r))
		default:
			encoded.WriteByte('?')
		}
	}
	return encoded.String()
}
