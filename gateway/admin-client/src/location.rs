//! A path of the API with its gaps filled.

/// `template`, one of [`gateway_control::path`], with each `{gap}` filled by the next of `values`,
/// percent-encoded (RFC 3986, 2.1). A gap without a value stays.
pub fn location(template: &str, values: &[&str]) -> String {
    let mut values = values.iter();
    let filled = template.split('/').map(|segment| match segment.starts_with('{') {
        true => values.next().map_or_else(|| segment.to_owned(), |value| encoded(value)),
        false => segment.to_owned(),
    });
    filled.collect::<Vec<_>>().join("/")
}

fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use gateway_control::path;

    use super::*;

    #[test]
    fn gaps_are_filled_in_their_order_and_a_value_stays_one_segment() {
        assert_eq!(
            location(path::PEER, &["trunk 1/é", "7", "offer"]),
            "/v1/peer/sas/trunk%201%2F%C3%A9/epochs/7/offer"
        );
        assert_eq!(location(path::STATUS, &[]), path::STATUS);
    }
}
