//! Linux XFRM over netlink. Empty until the IPsec engines land: only its name and its place in
//! the dependency table are fixed here.
