package vat

import "slices"

// Prefixes of VAT IDs that are not the ISO 3166-1 code of a country.
const (
	prefixGreece          = "EL"
	prefixNorthernIreland = "XI"
)

// members are the member states of the EU, by ISO 3166-1 alpha-2 code, with their names as adjectives: "Dutch VAT".
var members = map[string]string{
	"AT": "Austrian", "BE": "Belgian", "BG": "Bulgarian", "CY": "Cypriot", "CZ": "Czech", "DE": "German", "DK": "Danish",
	"EE": "Estonian", "ES": "Spanish", "FI": "Finnish", "FR": "French", "GR": "Greek", "HR": "Croatian", "HU": "Hungarian",
	"IE": "Irish", "IT": "Italian", "LT": "Lithuanian", "LU": "Luxembourgish", "LV": "Latvian", "MT": "Maltese",
	"NL": "Dutch", "PL": "Polish", "PT": "Portuguese", "RO": "Romanian", "SE": "Swedish", "SI": "Slovenian", "SK": "Slovak",
}

// countries are the codes of ISO 3166-1 alpha-2, and XK (Kosovo), which Stripe takes too.
const countries = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ " +
	"CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR " +
	"GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP " +
	"KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ " +
	"NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW " +
	"SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ " +
	"UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW"

var countrySet = func() map[string]bool {
	set := make(map[string]bool)
	for i := 0; i < len(countries); i += 3 {
		set[countries[i:i+2]] = true
	}
	return set
}()

// KnownCountry tells whether a code is one of ISO 3166-1 alpha-2, in capitals.
func KnownCountry(code string) bool { return countrySet[code] }

// InEU tells whether a country is a member state of the EU.
func InEU(country string) bool { return members[country] != "" }

// Members lists the member states of the EU, sorted.
func Members() []string {
	list := make([]string, 0, len(members))
	for code := range members {
		list = append(list, code)
	}
	slices.Sort(list)
	return list
}

// taxed is the country whose VAT a buyer's country has: Monaco is taxed as France.
func taxed(country string) string {
	if country == "MC" {
		return "FR"
	}
	return country
}

// Prefix is what VAT IDs of a country begin with: EL for Greece, XI for the United Kingdom (Northern Ireland alone has
// them), FR for Monaco, otherwise the country's code. Empty: its businesses have no VAT ID of the EU.
func Prefix(country string) string {
	country = taxed(country)
	switch {
	case country == "GR":
		return prefixGreece
	case country == "GB":
		return prefixNorthernIreland
	case InEU(country):
		return country
	}
	return ""
}
